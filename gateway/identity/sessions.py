"""Session: a login's public key for some hours, and the certificate that says so.

Invariant: a session signs only from its creation until it expires or is revoked; what it signed before stays valid
evidence for ever.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from joserfc.jwk import OKPKey

from gateway.errors import NotAllowed, SignatureExpired
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import public_jwk, read_public
from gateway.identity.passwords import matches
from gateway.identity.scopes import ALL, Scopes
from gateway.identity.users import User, UserStore

CERTIFICATE_TYPE: Final = "burst-session+jwt"
_HINT = "burst login, then try again"


USE_NOTED: Final = timedelta(minutes=10)
"""How coarse it is known when a session was last used: a row written for every request would be dear."""


class LoginBy(StrEnum):
    """How a session began."""

    PASSWORD = "password"  # noqa: S105 - a word
    DEVICE = "device"
    BROWSER = "browser"
    KEY = "key"
    VISA = "visa"


@dataclass(frozen=True)
class Origin:
    """Where a login came from: ``host`` is what the client calls its computer, and nobody has checked it."""

    how: LoginBy = LoginBy.PASSWORD
    address: str = ""
    host: str = ""
    key: str | None = None
    """The thumbprint of the registered key that it was proven with."""


@dataclass(frozen=True)
class Session:
    """One login; ``id`` is the ``kid`` of its signatures, ``public_key`` a JWK. Times in UTC."""

    id: str
    user: str
    public_key: Mapping[str, str]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    scopes: Scopes = ALL
    origin: Origin = Origin()
    used_at: datetime | None = None
    """When it last signed, give or take ``USE_NOTED``."""

    @property
    def key(self) -> OKPKey:
        """What its signatures are verified with."""
        return read_public(self.public_key)

    def check(self, now: datetime) -> None:
        """Raise SignatureExpired unless it may sign at ``now``."""
        if self.revoked_at is not None and now >= self.revoked_at:
            raise SignatureExpired(f"This session was ended at {self.revoked_at:%Y-%m-%d %H:%M} UTC.", hint=_HINT)
        if now >= self.expires_at:
            raise SignatureExpired(f"This session expired at {self.expires_at:%Y-%m-%d %H:%M} UTC.", hint=_HINT)


class SessionStore(Protocol):
    """The stored sessions; ended ones are kept, so that old signatures stay verifiable."""

    def add(self, session: Session) -> None:
        """Keep a new session."""

    def get(self, session_id: str) -> Session:
        """A session by its id. Raises BadSignature: to a caller an unknown key is a bad signature."""

    def revoke(self, session_id: str, now: datetime) -> None:
        """End a session; ending it twice keeps the first time."""

    def live(self, user: str, now: datetime) -> tuple[Session, ...]:
        """A user's sessions that may sign at ``now``, newest first."""

    def note_use(self, session_id: str, now: datetime) -> None:
        """It has signed something."""

    def revoke_all(self, user: str, now: datetime, keep: str | None = None) -> int:
        """End every session of a user's but ``keep``; return how many."""


def check_password(users: UserStore, name: str, password: str) -> User:
    """The user of that name and password. Raises NotAllowed, with the same words for a wrong name."""
    if not matches(users.password_hash(name), password):
        raise wrong_login()
    return users.get(name)


def wrong_login() -> NotAllowed:
    """What is said of every login that is not right, whatever is wrong about it."""
    return NotAllowed("The user name or the password is wrong.", hint="try again, or ask an administrator")


def new_session(  # noqa: PLR0917 - whose, which key, when, what it may, whence
    user: User,
    public_key: Mapping[str, object],
    now: datetime,
    lifetime: timedelta,
    scopes: Scopes = ALL,
    origin: Origin = Origin(),
) -> Session:
    """A session for ``user``'s key. Raises InvalidRequest when it is no public Ed25519 key."""
    jwk = public_jwk(read_public(public_key))
    return Session(secrets.token_urlsafe(16), user.name, jwk, now, now + lifetime, scopes=scopes, origin=origin)


def certificate(session: Session, user: User, ring: KeyRing, issuer: str, audience: str) -> str:
    """A JWT of the gateway's that binds the session's key to its user (RFC 7800 ``cnf.jwk``)."""
    claims = {
        "iss": issuer,
        "sub": user.name,
        "aud": audience,
        "sid": session.id,
        "role": user.role.value,
        "scope": " ".join(sorted(session.scopes)),
        "iat": int(session.created_at.timestamp()),
        "exp": int(session.expires_at.timestamp()),
        "jti": session.id,
        "cnf": {"jwk": dict(session.public_key)},
    }
    return ring.sign(json.dumps(claims).encode(), CERTIFICATE_TYPE, session.created_at)
