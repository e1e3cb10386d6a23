"""Remembered devices: a key that a client keeps in place of a code, for its next logins.

Invariant: the private key is made by the client and never sent; its word stands in for a code beside the password,
never for the password, is bound to the one key that is to be certified, and is worth nothing once it was revoked.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from joserfc.jwk import OKPKey

from gateway.errors import BadSignature
from gateway.identity import jws
from gateway.identity.keys import read_public, thumbprint

PROOF_TYPE: Final = "burst-device-proof+jwt"
LIFETIME: Final = timedelta(minutes=2)
SKEW: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class DeviceKey:
    """One remembered device; ``id`` is its key's thumbprint (RFC 7638), ``name`` what it calls itself. Times in UTC."""

    id: str
    user: str
    public_key: Mapping[str, str]
    name: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class DeviceKeyStore(Protocol):
    """The stored keys; revoked ones are kept, so that a key never comes back."""

    def add(self, device: DeviceKey) -> None:
        """Keep a new one. Raises Conflict when its key is known."""

    def find(self, user: str, device: str) -> DeviceKey | None:
        """A user's device that is not revoked."""

    def of_user(self, user: str) -> tuple[DeviceKey, ...]:
        """A user's devices that are not revoked, newest first."""

    def used(self, device: str, now: datetime) -> None:
        """Note that it was used."""

    def revoke(self, user: str, device: str, now: datetime) -> None:
        """End one. Raises NotFound."""

    def revoke_all(self, user: str, now: datetime) -> int:
        """End every device of a user; return how many."""


def make_proof(device: OKPKey, user: str, session_key: OKPKey, audience: str, now: datetime) -> str:
    """The device's word that this user logs in with this session key, for two minutes."""
    claims = {
        "aud": audience,
        "sub": user,
        "jkt": thumbprint(session_key),
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
        "jti": secrets.token_urlsafe(16),
    }
    return jws.sign(json.dumps(claims).encode(), device, kid=thumbprint(device), typ=PROOF_TYPE)


def check_proof(proof: str, device: DeviceKey, session_key: Mapping[str, object], audience: str, now: datetime) -> None:
    """Raise BadSignature unless it is this device's word, for this login, now."""
    claims = _claims(jws.verify(proof, read_public(device.public_key), typ=PROOF_TYPE))
    expected = {"aud": audience, "sub": device.user, "jkt": thumbprint(read_public(session_key))}
    same = [hmac.compare_digest(str(claims.get(name)).encode(), text.encode()) for name, text in expected.items()]
    if not all(same) or not _timely(claims, now):
        raise BadSignature("The device's word is not for this login.", hint="log in with a code")


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except ValueError as error:
        raise BadSignature("The device's word cannot be read.", hint="log in with a code") from error
    return claims if isinstance(claims, dict) else {}


def _timely(claims: Mapping[str, Any], now: datetime) -> bool:
    issued, expires = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(expires) is not int:
        return False
    at, skew, longest = now.timestamp(), SKEW.total_seconds(), LIFETIME.total_seconds()
    return issued - skew <= at < expires + skew and 0 < expires - issued <= longest
