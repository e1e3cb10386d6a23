"""OAuth 2.0 over HTTP: token exchange (RFC 8693), introspection (RFC 7662) and revocation (RFC 7009).

Invariant: answers and errors have the RFCs' forms (RFC 6749 section 5.2) and are not to be stored; a parameter counts
once, in the body; a token in a URL is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from gateway.api.signed import TheGateway, received
from gateway.errors import BurstError, InvalidClient, InvalidScope, NotAllowed, TokenError, UnsupportedGrant
from gateway.identity import issuer
from gateway.identity.delegation import MOST_SCOPES, Wish
from gateway.service.gateway import Gateway
from gateway.service.tokens import Asker

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 32 * 1024
FORM = "application/x-www-form-urlencoded"
_REPEATED = frozenset({"audience", "resource"})
"""RFC 8693 section 2.1: these may come more than once."""
_LONGEST_S = 10**9

Fields = Mapping[str, list[str]]

router = APIRouter(tags=["machines"], include_in_schema=False)


@router.post(issuer.TOKEN_PATH)
async def token(gateway: TheGateway, request: Request) -> Response:
    """Token exchange: a narrower credential for a job's own."""

    def act(fields: Fields) -> dict[str, Any]:
        if _one(fields, "grant_type") != issuer.TOKEN_EXCHANGE:
            raise UnsupportedGrant
        issued = gateway.tokens.exchange(_subject(fields), _wish(fields))
        return {
            "access_token": issued.token,
            "issued_token_type": issuer.ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": issued.seconds,
            "scope": " ".join(issued.grant.scopes),
        }

    return await _answered(request, act)


@router.post(issuer.INTROSPECTION_PATH)
async def introspect(gateway: TheGateway, request: Request) -> Response:
    """What a credential says while it lives, to its job, the job's owner or an administrator."""
    asker = await _asker(gateway, request)
    return await _answered(request, lambda fields: gateway.tokens.introspect(_proven(asker), _one(fields, "token")))


@router.post(issuer.REVOCATION_PATH)
async def revoke(gateway: TheGateway, request: Request) -> Response:
    """End a credential, for its job, the job's owner or an administrator."""
    asker = await _asker(gateway, request)
    return await _answered(request, lambda fields: gateway.tokens.revoke(_proven(asker), _one(fields, "token")))


async def _asker(gateway: Gateway, request: Request) -> Asker | None:
    """Who asks: a job by its credential, a user by a signature; None when neither is proven."""
    if len(await request.body()) > MAX_BODY_BYTES:
        return None
    signed = await received(request)
    is_job = (signed.authorization or "").lower().startswith("bearer ")

    def proven() -> Asker:
        return gateway.people.job(signed.authorization) if is_job else gateway.people.user(signed)

    try:
        return await run_in_threadpool(proven)
    except NotAllowed:
        return None


def _proven(asker: Asker | None) -> Asker:
    if asker is None:
        raise InvalidClient(hint="send the job's credential as Bearer, or a signed request")
    return asker


async def _answered(request: Request, act: Any) -> Response:
    """What ``act`` makes of the form, as JSON; its refusals as the RFC has them."""
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    try:
        fields = await _form(request)
        answer = await run_in_threadpool(act, fields)
    except TokenError as error:
        status = HTTPStatus.UNAUTHORIZED if isinstance(error, InvalidClient) else HTTPStatus.BAD_REQUEST
        proof = {"WWW-Authenticate": "Bearer"} if isinstance(error, InvalidClient) else {}
        return JSONResponse({"error": error.oauth, "error_description": _plain(error)}, status, headers | proof)
    except BurstError as error:
        log.warning("no answer about a token", error=error.detail)
        answer = {"error": "temporarily_unavailable", "error_description": "Try again in a moment."}
        return JSONResponse(answer, HTTPStatus.SERVICE_UNAVAILABLE, headers)
    return JSONResponse(answer or {}, headers=headers)


async def _form(request: Request) -> Fields:
    """The body's fields; those without a value count as left out (RFC 6749 section 3.2). Raises TokenError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise TokenError(f"The body must be {FORM}.")
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise TokenError("The request is too long.")
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=100)
    except ValueError as error:
        raise TokenError("The body is not a form in UTF-8.") from error
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    if repeated := [name for name, values in fields.items() if len(values) > 1 and name not in _REPEATED]:
        raise TokenError(f"{repeated[0][:50]} is given twice.")
    return fields


def _one(fields: Fields, name: str) -> str:
    if name not in fields:
        raise TokenError(f"{name} is missing.")
    return fields[name][0]


def _subject(fields: Fields) -> str:
    if _one(fields, "subject_token_type") not in issuer.TOKEN_TYPES:
        raise TokenError(f"subject_token_type must be {issuer.ACCESS_TOKEN}.")
    if fields.get("requested_token_type", [issuer.ACCESS_TOKEN])[0] not in issuer.TOKEN_TYPES:
        raise TokenError(f"requested_token_type must be {issuer.ACCESS_TOKEN}.")
    if "actor_token" in fields or "actor_token_type" in fields:
        raise TokenError("An actor_token is not supported: the actor is the subject token's own.")
    return _one(fields, "subject_token")


def _wish(fields: Fields) -> Wish:
    scopes = tuple(fields["scope"][0].split(" ")) if "scope" in fields else ()
    if not all(scopes) or len(scopes) > MOST_SCOPES:
        raise InvalidScope(f"scope is at most {MOST_SCOPES} scopes with one blank between two.")
    seconds = fields.get("expires_in", [""])[0]
    if seconds and not (seconds.isascii() and seconds.isdecimal() and 0 < int(seconds[:20]) <= _LONGEST_S):
        raise TokenError("expires_in is a number of seconds, one at least.")
    targets = (*fields.get("audience", ()), *fields.get("resource", ()))
    return Wish(scopes, targets, int(seconds) if seconds else None)


def _plain(error: TokenError) -> str:
    """Detail and hint in the characters that error_description may have."""
    text = f"{error.detail} {error.hint}" if error.hint else error.detail
    return "".join(char if " " <= char <= "~" and char not in '"\\' else "?" for char in text)
