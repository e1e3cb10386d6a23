"""Signed requests: what a user or node signs, and what the gateway checks, without any server library.

Invariant: a signature binds method, path with query, body, audience and a short time; a nonce makes it single-use.
``verify_request`` checks in one order, each step only after the one before held: shape and spelling, algorithm, type,
signature, claims present and typed, audience, method, path, body, lifetime, clock. The nonce is the caller's last step.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from gateway.errors import BadSignature, SignatureExpired
from gateway.identity import jws
from gateway.identity.keys import Key

SCHEME: Final = "Burst"
"""``Authorization: Burst TOKEN``."""
TYPE: Final = "burst-request+jws"
LIFETIME_S: Final = 60
MAX_LIFETIME_S: Final = 120
DEFAULT_SKEW_S: Final = 60
MUTATING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods whose signatures are good once."""

V = TypeVar("V", int, str)


@dataclass(frozen=True)
class Claims:
    """What a verified request says. Times in UTC; ``max_spend_ucr`` None: no limit was signed."""

    kid: str
    nonce: str
    method: str
    path: str
    body_digest: str
    """base64url of the body's SHA-256, as ``body_digest`` gives it."""
    audience: str
    issued_at: datetime
    expires_at: datetime
    resource: str | None
    max_spend_ucr: int | None
    digest: str
    """SHA-256 of the token itself, hex: the name of its evidence."""


def sign_request(  # noqa: PLR0917 - who signs, then the request in the order of the wire, then the proof's frame
    key: Key,
    kid: str,
    method: str,
    path: str,
    body: bytes,
    audience: str,
    now: datetime,
    *,
    resource: str | None = None,
    max_spend_ucr: int | None = None,
) -> str:
    """A token for one request; ``path`` is the request's target with its query, ``body`` the bytes as sent."""
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": kid,
        "htm": method,
        "htu": path,
        "bsh": body_digest(body),
        "aud": audience,
        "iat": issued,
        "exp": issued + LIFETIME_S,
        "jti": secrets.token_urlsafe(16),
    }
    if resource is not None:
        claims["res"] = resource
    if max_spend_ucr is not None:
        claims["max"] = max_spend_ucr
    return jws.sign(json.dumps(claims, separators=(",", ":")).encode(), key, kid=kid, typ=TYPE)


def verify_request(
    token: str,
    key: Key,
    *,
    method: str,
    path: str,
    body: bytes,
    audience: str,
    now: datetime,
    skew_s: int = DEFAULT_SKEW_S,
) -> Claims:
    """What the token says, once all of it holds for this request.

    Raises BadSignature for what does not match, SignatureExpired for what is too old, too new or too long-lived.
    """
    claims = open_request(token, key)
    for name, signed, actual in (
        ("audience", claims.audience, audience),
        ("method", claims.method, method),
        ("path", claims.path, path),
        ("body", claims.body_digest, body_digest(body)),
    ):
        if not hmac.compare_digest(signed.encode(), actual.encode()):
            raise BadSignature(
                f"The signature is for another {name}.", hint=f"sign the {name} exactly as it is sent", field=name
            )
    _check_times(claims, now, timedelta(seconds=skew_s))
    return claims


def open_request(token: str, key: Key) -> Claims:
    """What a token signed by ``key`` says, whatever request it is for. Raises BadSignature."""
    payload = jws.verify(token, key, typ=TYPE, curve=jws.libsodium)
    try:
        said = json.loads(payload.decode())
    except (ValueError, RecursionError) as error:
        raise _incomplete("claims") from error
    if not isinstance(said, dict):
        raise _incomplete("claims")
    kid = jws.kid_of(token)
    if said.get("iss", kid) != kid:
        raise BadSignature("The signature names two keys.", hint="iss must equal kid")
    return _claims(said, kid, hashlib.sha256(token.encode()).hexdigest())


def body_digest(body: bytes) -> str:
    """base64url without padding of the body's SHA-256; the body of a request without one is empty."""
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def token_of(header: str | None) -> str:
    """The token of an Authorization header's value. Raises BadSignature when it has none."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != SCHEME.lower() or not token.strip():
        raise BadSignature("The request is not signed.", hint="burst login, then try again")
    return token.strip()


def _claims(said: Mapping[str, Any], kid: str, digest: str) -> Claims:
    return Claims(
        kid=kid,
        nonce=_nonce(_need(said, "jti", str)),
        method=_need(said, "htm", str),
        path=_need(said, "htu", str),
        body_digest=_need(said, "bsh", str),
        audience=_need(said, "aud", str),
        issued_at=_time(_need(said, "iat", int)),
        expires_at=_time(_need(said, "exp", int)),
        resource=_need(said, "res", str) if "res" in said else None,
        max_spend_ucr=_spend(_need(said, "max", int)) if "max" in said else None,
        digest=digest,
    )


def _need(said: Mapping[str, Any], name: str, kind: type[V]) -> V:
    value = said.get(name)
    # Exactly that type: True is an int to isinstance.
    if type(value) is not kind:
        raise _incomplete(name)
    return value


def _nonce(value: str) -> str:
    if not 16 <= len(value) <= 128:  # noqa: PLR2004 - 128 bits in base64url have 22 characters
        raise _incomplete("jti")
    return value


def _spend(value: int) -> int:
    if value < 0:
        raise _incomplete("max")
    return value


def _time(value: int) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise _incomplete("iat") from error


def _incomplete(name: str) -> BadSignature:
    return BadSignature(f"The signature's {name} is missing or of the wrong kind.", hint="update the client")


def _check_times(claims: Claims, now: datetime, skew: timedelta) -> None:
    lifetime = claims.expires_at - claims.issued_at
    if not timedelta(0) < lifetime <= timedelta(seconds=MAX_LIFETIME_S):
        raise SignatureExpired(
            f"The signature would be good for {lifetime.total_seconds():.0f} s.",
            hint=f"sign for at most {MAX_LIFETIME_S} s",
        )
    if claims.issued_at > now + skew:
        raise SignatureExpired("The signature is from the future.", hint="set this computer's clock (NTP)")
    if claims.expires_at <= now - skew:
        raise SignatureExpired("The signature is too old.", hint="sign it again; if it persists, set the clock (NTP)")
