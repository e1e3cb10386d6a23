"""Compact JWS (RFC 7515), made and opened in one place.

Invariant: the algorithm is the key's, never the token's own word; a token has exactly one spelling; its ``typ`` keeps
what was signed for one purpose from being used for another.
"""

from __future__ import annotations

import base64
import hmac
import json
from functools import cache
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.registry import HeaderParameter

from gateway.errors import BadSignature
from gateway.identity.keys import Key, algorithm

MAX_TOKEN_CHARS: Final = 8192
_PARTS = 3


def sign(payload: bytes, key: Key, *, kid: str, typ: str, iat: int | None = None) -> str:
    """Sign ``payload``; the protected header holds alg, kid, typ and, where given, iat (RFC 7519 section 5.3)."""
    header: dict[str, Any] = {"alg": algorithm(key), "kid": kid, "typ": typ}
    if iat is not None:
        header["iat"] = iat
    return jws.serialize_compact(header, payload, key, registry=_registry(algorithm(key)))


def verify(token: str, key: Key, *, typ: str) -> bytes:
    """The payload of a token that ``key`` signed as ``typ``. Raises BadSignature.

    Checked in this order: shape and spelling, algorithm, type, signature.
    """
    header = header_of(token)
    if not _same(str(header.get("alg")), algorithm(key)):
        raise BadSignature("The token's algorithm is not its key's.", hint=f"sign with {algorithm(key)}")
    if not _same(str(header.get("typ")), typ):
        raise BadSignature("The token was signed for another purpose.", hint=f"its typ must be {typ}")
    try:
        return jws.deserialize_compact(token, key, registry=_registry(algorithm(key))).payload
    except (JoseError, ValueError) as error:
        raise BadSignature(hint="sign the exact bytes that are sent; if the key is lost, burst login") from error


def header_of(token: str) -> dict[str, Any]:
    """The protected header, read before anything is verified: good for finding the key and for nothing else.

    Raises BadSignature for what is no compact JWS in its one canonical spelling.
    """
    parts = token.split(".")
    if len(token) > MAX_TOKEN_CHARS or len(parts) != _PARTS:
        raise _malformed()
    header = _json(_decode(parts[0]))
    for part in parts[1:]:
        _decode(part)
    return header


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT claims, read before anything is verified: good for finding whose key it needs and for nothing else.

    Raises BadSignature for what is no JWT in its one canonical spelling.
    """
    header_of(token)
    return _json(_decode(token.split(".")[1]))


def kid_of(token: str) -> str:
    """Which key the token says that it was signed with. Raises BadSignature."""
    kid = header_of(token).get("kid")
    if not isinstance(kid, str) or not kid:
        raise BadSignature("The token does not name its key.", hint="put the session's id into the header as kid")
    return kid


@cache
def _registry(alg: str) -> jws.JWSRegistry:
    return jws.JWSRegistry({"iat": HeaderParameter("Issued At", "int")}, algorithms=[alg])


def _decode(part: str) -> bytes:
    # RFC 7515 appendix C: no padding. The unused low bits of the last character must be zero, or one signature would
    # have several spellings and a stored digest of the token would not be unique.
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise _malformed() from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise _malformed()
    return raw


def _json(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed() from error
    if not isinstance(value, dict):
        raise _malformed()
    return value


def _malformed() -> BadSignature:
    return BadSignature("The token is not a compact JWS.", hint="send three base64url parts joined by dots")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
