"""The gateway's key as a client knows it: met at login, followed through rotations, and asked of every answer.

Invariant: a key is believed because it certified a session key that was made here a moment ago, or because the key
before it vouches for it; an answer without its signature is not believed at all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx2
from joserfc.jwk import OKPKey
from pydantic import ValidationError

from gateway import wire
from gateway.accounting.receipt_form import canonical
from gateway.client import known_gateways
from gateway.errors import BadReply, BadSignature, InvalidRequest
from gateway.identity import jws
from gateway.identity.key_ring import verify_with
from gateway.identity.keys import public_jwk, read_public, thumbprint
from gateway.identity.replies import REPLY_HEADER, check_reply
from gateway.identity.sessions import CERTIFICATE_TYPE
from gateway.identity.succession import KEYS_PATH, fingerprint, lineage
from gateway.wire.proofs import KEYS_SEAL_TYPE, GatewayKeys

Jwk = dict[str, str]


def published(http: httpx2.Client) -> GatewayKeys:
    """The keys that a gateway publishes. Raises BadReply for what is not one's."""
    answer = http.get(KEYS_PATH)
    try:
        found = GatewayKeys.model_validate_json(answer.content)
        if not found.keys or any(thumbprint(read_public(key)) != key.get("kid") for key in found.keys):
            raise BadReply("The gateway publishes keys under other keys' names.", hint="check the URL")
        check_seal(found.model_dump(mode="json"), found.keys[0], KEYS_SEAL_TYPE)
    except (ValidationError, InvalidRequest, BadSignature):
        raise BadReply(f"{answer.request.url} holds no gateway's keys.", hint="check the URL") from None
    return found


def check_seal(document: Mapping[str, Any], key: Mapping[str, str], typ: str) -> None:
    """Raise BadSignature unless ``key`` sealed all of a document but the seal itself."""
    rest = {name: value for name, value in document.items() if name != "seal"}
    digest = hashlib.sha256(canonical(rest)).hexdigest().encode()
    if not hmac.compare_digest(jws.verify(str(document.get("seal")), read_public(key), typ=typ), digest):
        raise BadSignature("The seal is over something else.", hint="it was changed after the gateway made it")


def met(http: httpx2.Client, key: OKPKey, session: wire.Session) -> list[Jwk]:
    """The gateway's keys, newest first, once they have certified ``key``. Raises BadReply."""
    found = published(http)
    try:
        claims = json.loads(verify_with({"keys": found.keys}, session.certificate, CERTIFICATE_TYPE))
    except BadSignature as error:
        message = "The gateway's key did not certify this login."
        raise BadReply(message, hint="nothing was kept; check the URL, or ask its operator") from error
    if (claims["cnf"]["jwk"], claims["sub"]) != (public_jwk(key), session.user):
        raise BadReply("The certificate is for another key or user.", hint="nothing was kept; check the URL")
    if session.audience != found.audience or claims["aud"] != found.audience:
        raise BadReply("The certificate is of another gateway.", hint="nothing was kept; check the URL")
    known_gateways.check(found)
    return [dict(each) for each in found.keys]


def demand(http: httpx2.Client, wanted: str) -> str:
    """Today's fingerprint of the gateway's key, when it is ``wanted`` or a key of that leads to it. Raises BadReply."""
    found = published(http)
    for key in found.keys:
        if fingerprint(key) == wanted and known_gateways.vouched(dict(key), found):
            # Who gives the fingerprint has asked the operator: it counts more than what was met before.
            known_gateways.remember(found.audience, [dict(each) for each in found.keys])
            return fingerprint(found.keys[0])
    raise BadReply(
        f"The gateway's key is {fingerprint(found.keys[0])}, not {wanted}.",
        hint="no password was sent; check the URL, or ask its operator",
    )


def believe(response: httpx2.Response, token: str, keys: Sequence[Jwk], http: httpx2.Client) -> list[Jwk]:
    """The keys to go on with, newest first, once the answer to the request of ``token`` is found genuine.

    A failure of 500 or more may be a proxy's and unsigned: it is an error whatever it says. Raises BadReply.
    """
    header = response.headers.get(REPLY_HEADER)
    if header is None and response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return list(keys)
    if not keys:
        raise BadReply("This login does not know the gateway's key.", hint="burst login meets it")
    if header is not None and _signer(header) != thumbprint(read_public(keys[0])):
        keys = _followed(keys, published(http))
    check_reply(header, read_public(keys[0]), token, response.status_code, response.content)
    return list(keys)


def _followed(keys: Sequence[Jwk], found: GatewayKeys) -> list[Jwk]:
    """``keys`` with what follows on the newest, as far as each vouches for the next."""
    _, *later = lineage(keys[0], found.successions)
    return [*({**key, "kid": thumbprint(read_public(key))} for key in reversed(later)), *keys]


def _signer(header: str) -> str:
    try:
        return jws.kid_of(header)
    except BadSignature as error:
        message = "The answer's signature is not a gateway's."
        raise BadReply(message, hint="something between here and the gateway changes answers") from error
