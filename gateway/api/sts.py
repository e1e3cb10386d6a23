"""STS over HTTP: the one action of AWS's Security Token Service with which an SDK in a job gets its keys.

The call is unsigned, as AWS has it: the credential in its body is the proof. Source: AWS STS API reference,
version 2011-06-15, AssumeRoleWithWebIdentity and Common Errors.

Invariant: answers and errors have AWS's form and codes, because SDKs act on them; a token in a URL is not read.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qs
from xml.etree.ElementTree import Element, SubElement, tostring

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from gateway.api.signed import TheGateway
from gateway.errors import BadSignature, BurstError, InvalidRequest, NotAllowed, SignatureExpired
from gateway.service.job_keys import SHORTEST_S, Assumed

log = structlog.get_logger(__name__)

PATH = "/sts"
MAX_BODY_BYTES = 32 * 1024
VERSION = "2011-06-15"
NAMESPACE = f"https://sts.amazonaws.com/doc/{VERSION}/"
ACTION = "AssumeRoleWithWebIdentity"
LONGEST_S = 43_200
_UNAVAILABLE = ("IDPCommunicationError", HTTPStatus.BAD_REQUEST)

CODES: tuple[tuple[type[BurstError], str, HTTPStatus], ...] = (
    (BadSignature, "InvalidIdentityToken", HTTPStatus.BAD_REQUEST),
    (SignatureExpired, "ExpiredTokenException", HTTPStatus.BAD_REQUEST),
    (NotAllowed, "AccessDenied", HTTPStatus.FORBIDDEN),
    (InvalidRequest, "ValidationError", HTTPStatus.BAD_REQUEST),
)
"""The first row whose class fits counts; anything else is worth another try, which SDKs make of this code."""

router = APIRouter(tags=["machines"], include_in_schema=False)


@router.post(PATH)
@router.post(f"{PATH}/")
async def assume(gateway: TheGateway, request: Request) -> Response:
    """AssumeRoleWithWebIdentity with a job's own credential."""
    fields = await _form(request)
    if fields is None:
        return _refused("RequestEntityTooLarge", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too long.")
    if fields.get("Action") != ACTION:
        return _refused("InvalidAction", HTTPStatus.BAD_REQUEST, f"This service knows {ACTION} only.")
    try:
        token, role = _needed(fields, "WebIdentityToken"), _needed(fields, "RoleArn")
        _needed(fields, "RoleSessionName")
        seconds = _duration(fields.get("DurationSeconds"))
        assumed = await run_in_threadpool(gateway.job_keys.assume, token, role, seconds)
    except BurstError as error:
        return _error(error)
    return _answered(_document(assumed, role))


async def _form(request: Request) -> dict[str, str] | None:
    """The body's fields, each once; None when there is more of it than a call can need."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > MAX_BODY_BYTES:
            return None
    return {name: values[-1] for name, values in parse_qs(body.decode("latin-1")).items()}


def _needed(fields: Mapping[str, str], name: str) -> str:
    if not (value := fields.get(name)):
        raise InvalidRequest(f"{name} is missing.", field=name)
    return value


def _duration(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > len(str(LONGEST_S)) or not SHORTEST_S <= int(text) <= LONGEST_S:
        raise InvalidRequest(f"DurationSeconds is from {SHORTEST_S} to {LONGEST_S}.", field="DurationSeconds")
    return int(text)


def _document(assumed: Assumed, role: str) -> Element:
    keys, grant = assumed.keys, assumed.grant
    session = f"{grant.job}.{grant.attempt}"
    answer = Element(f"{ACTION}Response", xmlns=NAMESPACE)
    result = SubElement(answer, f"{ACTION}Result")
    facts = (("SubjectFromWebIdentityToken", grant.user), ("Audience", assumed.audience), ("Provider", assumed.issuer))
    _put(result, dict(facts))
    user = SubElement(result, "AssumedRoleUser")
    _put(user, {"Arn": f"{role.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/{session}"})
    _put(user, {"AssumedRoleId": f"BURSTJOB:{session}"})
    _put(
        SubElement(result, "Credentials"),
        {
            "AccessKeyId": keys.access_key,
            "SecretAccessKey": keys.secret_key,
            "SessionToken": keys.session_token,
            "Expiration": f"{keys.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        },
    )
    return answer


def _error(error: BurstError) -> Response:
    for kind, code, status in CODES:
        if isinstance(error, kind):
            return _refused(code, status, error.detail)
    log.warning("no keys for a job", error=error.detail)
    return _refused(*_UNAVAILABLE, "The store cannot give keys just now.")


def _refused(code: str, status: HTTPStatus, message: str) -> Response:
    answer = Element("ErrorResponse", xmlns=NAMESPACE)
    _put(SubElement(answer, "Error"), {"Type": "Sender", "Code": code, "Message": message})
    return _answered(answer, status)


def _answered(answer: Element, status: HTTPStatus = HTTPStatus.OK) -> Response:
    where = answer if status != HTTPStatus.OK else SubElement(answer, "ResponseMetadata")
    request_id = str(uuid.uuid4())
    _put(where, {"RequestId": request_id})
    headers = {"x-amzn-RequestId": request_id, "Cache-Control": "no-store"}
    return Response(tostring(answer, encoding="unicode"), status, headers, "text/xml")


def _put(element: Element, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        SubElement(element, name).text = text
