"""DeviceLogin: a login that waits for its user's approval in a browser, after RFC 8628.

Invariant: a code is good for ten minutes and dies at five wrong passwords; it is decided once; what is certified is
the key that asked, and the approval says who approved which key, from where.

    PENDING ── the user approves ──► APPROVED (a session for the key)
       └────── the user refuses ───► REFUSED
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from gateway.errors import ApprovalPending, ApprovalRefused, CodeExpired, Conflict, Refused, SlowDown
from gateway.identity.browsers import Browser
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import public_jwk, read_public, thumbprint
from gateway.identity.phrase import phrase
from gateway.identity.scopes import ALL, Scopes
from gateway.identity.users import User

LIFETIME: Final = timedelta(minutes=10)
MOST_TRIES: Final = 5
INTERVAL_S: Final = 2
SLOWER_S: Final = 5
"""What an impatient client must wait longer (RFC 8628 §3.5)."""
_EARLY_S: Final = 0.5
"""How much too early a question may come: networks hurry, too."""
APPROVAL_TYPE: Final = "burst-approval+jwt"

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words; nothing that looks like a digit (RFC 8628 §6.1)
_HINT = "burst login --device begins another one"


class DeviceState(StrEnum):
    """What became of a login."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True)
class DeviceLogin:
    """One such login. ``code_hash`` is of the client's own code; ``tries`` counts wrong passwords. Times in UTC."""

    code_hash: str
    user_code: str
    public_key: Mapping[str, str]
    host: str
    address: str
    asked_at: datetime
    expires_at: datetime
    state: DeviceState = DeviceState.PENDING
    tries: int = 0
    interval_s: int = INTERVAL_S
    scopes: Scopes = ALL
    """What it asks for."""
    given: Scopes = frozenset()
    """What it was given of that."""
    polled_at: datetime | None = None
    user: str | None = None
    """Who decided."""
    session: str | None = None
    """The session of an approved login."""
    approval: str | None = None
    """The gateway's signed statement of the decision."""
    decided_at: datetime | None = None

    @property
    def phrase(self) -> str:
        """Four words of its key, which the client shows too."""
        return phrase(read_public(self.public_key))

    def narrowed(self, chosen: Scopes | None) -> Scopes:
        """What its user gives of what it asks for; None: all. Raises Refused for more, and for nothing."""
        if chosen is None:
            return self.scopes
        if not chosen:
            raise Refused("Nothing is left that this login may do.", hint="leave one thing ticked, or refuse it")
        if more := sorted(chosen - self.scopes):
            raise Refused(f"The login did not ask for {more[0]}.", hint="open the page again")
        return chosen

    def check(self, now: datetime) -> None:
        """Raise CodeExpired unless it can still be used at ``now``."""
        if self.tries >= MOST_TRIES:
            raise CodeExpired("This code was ended after five wrong passwords.", hint=_HINT)
        if now >= self.expires_at:
            raise CodeExpired(f"This code expired at {self.expires_at:%H:%M} UTC.", hint=_HINT)


class DeviceStore(Protocol):
    """The stored logins, inside one transaction of the database."""

    def add(self, login: DeviceLogin) -> None:
        """Keep a new login. Raises Conflict when its user code is in use."""

    def of_client(self, code_hash: str) -> DeviceLogin:
        """By the digest of the client's code. Raises NotFound."""

    def of_user(self, user_code: str) -> DeviceLogin:
        """By the code that the user types. Raises NotFound."""

    def record(self, old: DeviceLogin, new: DeviceLogin) -> None:
        """Change what is known of a login. Raises Conflict when it is not as ``old`` says any more."""


def begin(
    public_key: Mapping[str, object], host: str, address: str, now: datetime, scopes: Scopes = ALL
) -> tuple[DeviceLogin, str]:
    """A new login and the client's code for it. Raises InvalidRequest when the key is no public Ed25519 key."""
    code = secrets.token_urlsafe(32)
    jwk = public_jwk(read_public(public_key))
    return DeviceLogin(code_hash(code), _user_code(), jwk, host, address, now, now + LIFETIME, scopes=scopes), code


def code_hash(code: str) -> str:
    """What is kept of a client's code."""
    return hashlib.sha256(code.encode()).hexdigest()


def typed(text: str) -> str:
    """A user code as it is kept, of one as people type it: "wdjb mjht" is "WDJB-MJHT"."""
    letters = "".join(letter for letter in text.upper() if letter.isalnum())[:8]
    return f"{letters[:4]}-{letters[4:]}"


def undecided(login: DeviceLogin, now: datetime) -> None:
    """Raise CodeExpired or Conflict unless the user may decide about it now."""
    login.check(now)
    if login.state is not DeviceState.PENDING:
        raise Conflict(f"This login was {login.state} already.", hint=_HINT)


def too_early(login: DeviceLogin, now: datetime) -> bool:
    """Whether the client asks sooner than it was told to."""
    wait = timedelta(seconds=login.interval_s - _EARLY_S)
    return login.polled_at is not None and now - login.polled_at < wait


def outcome(login: DeviceLogin, now: datetime, *, early: bool) -> str:
    """The session of an approved login. Raises DeviceError for what RFC 8628 §3.5 has in its place."""
    if login.state is DeviceState.REFUSED:
        raise ApprovalRefused(hint=_HINT)
    login.check(now)
    if early:
        raise SlowDown(hint=f"wait {login.interval_s} s and {SLOWER_S} more between two questions")
    if login.session is None:
        raise ApprovalPending(hint="open the URL in a browser and approve the login")
    return login.session


def statement(login: DeviceLogin, user: User, address: str, browser: Browser, ring: KeyRing) -> str:
    """A JWT of the gateway's about a decision: who decided, signed in when, how and from where, about which key."""
    assert login.decided_at is not None  # noqa: S101 - it is about a decision
    claims = {
        "sub": user.name,
        "auth_time": int((browser.proved_at or browser.created_at).timestamp()),
        "amr": browser.amr.split(),
        "address": address,
        "decision": login.state.value,
        "scope_asked": " ".join(sorted(login.scopes)),
        "scope": " ".join(sorted(login.given)),
        "jkt": thumbprint(read_public(login.public_key)),
        "asked_by": {"host": login.host, "address": login.address},
        "sid": login.session,
        "iat": int(login.decided_at.timestamp()),
    }
    return ring.sign(json.dumps(claims).encode(), APPROVAL_TYPE, login.decided_at)


def _user_code() -> str:
    return typed("".join(secrets.choice(_LETTERS) for _ in range(8)))
