"""Assertion: with which a principal proves that it has its key, and for which new key it asks (RFC 7523, section 3).

Invariant: it is good once, for a minute, at one gateway, and for the one session key whose thumbprint it names; so who
sees it on its way gains nothing.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.errors import BadSignature, SignatureExpired
from gateway.identity import jws
from gateway.identity.keys import KeyPair, thumbprint

ASSERTION_TYPE: Final = "burst-principal+jwt"
LIFETIME_S: Final = 60
MAX_LIFETIME_S: Final = 120
_SHORTEST_NONCE: Final = 16
_LONGEST_NONCE: Final = 128
_HINT = "sign a new assertion for each login"


@dataclass(frozen=True)
class Assertion:
    """What a verified assertion says; ``kid`` is the principal's key, ``session_key`` a thumbprint. Times in UTC."""

    kid: str
    nonce: str
    principal: str
    session_key: str
    issued_at: datetime
    expires_at: datetime


def assertion(key: KeyPair, principal: str, session_key: KeyPair, audience: str, now: datetime) -> str:
    """A token of the principal's; ``audience`` is the issuer's URL of the gateway that it logs in to."""
    issued = int(now.timestamp())
    claims = {
        "iss": principal,
        "sub": principal,
        "aud": audience,
        "iat": issued,
        "exp": issued + LIFETIME_S,
        "jti": secrets.token_urlsafe(16),
        "cnf": {"jkt": thumbprint(session_key)},
    }
    return jws.sign(json.dumps(claims).encode(), key, kid=thumbprint(key), typ=ASSERTION_TYPE)


def verify(token: str, key: KeyPair, *, audience: str, now: datetime, skew_s: int) -> Assertion:
    """What it says. Raises BadSignature, SignatureExpired; that its nonce is new is for the caller to see to."""
    said = _object(jws.verify(token, key, typ=ASSERTION_TYPE))
    confirmed = said.get("cnf")
    made = Assertion(
        kid=jws.kid_of(token),
        nonce=_text(said, "jti"),
        principal=_text(said, "sub"),
        session_key=_text(confirmed if isinstance(confirmed, dict) else {}, "jkt"),
        issued_at=_time(said, "iat"),
        expires_at=_time(said, "exp"),
    )
    if not hmac.compare_digest(_text(said, "aud").encode(), audience.encode()):
        raise BadSignature("The assertion is for another gateway.", hint=_HINT, field="audience")
    if _text(said, "iss") != made.principal or not _SHORTEST_NONCE <= len(made.nonce) <= _LONGEST_NONCE:
        raise _malformed()
    _check_times(made, now, timedelta(seconds=skew_s))
    return made


def _check_times(made: Assertion, now: datetime, skew: timedelta) -> None:
    lifetime = made.expires_at - made.issued_at
    if not timedelta(0) < lifetime <= timedelta(seconds=MAX_LIFETIME_S):
        raise SignatureExpired("The assertion would be good for too long.", hint=f"at most {MAX_LIFETIME_S} s")
    if not made.issued_at - skew <= now < made.expires_at + skew:
        raise SignatureExpired("The assertion is too old, or from the future.", hint="set the clock (NTP)")


def _object(payload: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _malformed() from error
    if not isinstance(said, dict):
        raise _malformed()
    return said


def _text(said: Mapping[str, Any], name: str) -> str:
    if not isinstance(value := said.get(name), str):
        raise _malformed()
    return value


def _time(said: Mapping[str, Any], name: str) -> datetime:
    value = said.get(name)
    if type(value) is not int:
        raise _malformed()
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise _malformed() from error


def _malformed() -> BadSignature:
    return BadSignature("The assertion lacks a claim, or has one of the wrong kind.", hint=_HINT)
