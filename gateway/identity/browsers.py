"""Browser: a sign-in with a cookie, which may look at everything of its user's and sign nothing.

Invariant: only the cookie's digest is kept; a form is taken only with the token that belongs to its cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from gateway.errors import Refused, SignatureExpired

FRESH: Final = timedelta(minutes=10)
"""How long after a password, or what stands for one, a browser may approve a login and change the ways to sign in."""


@dataclass(frozen=True)
class Browser:
    """One sign-in; ``session`` is the key session that was certified with it, if the browser made a key."""

    cookie_hash: str
    user: str
    address: str
    agent: str
    """What the browser calls itself."""
    created_at: datetime
    expires_at: datetime
    session: str | None = None
    ended_at: datetime | None = None
    amr: str = "pwd"
    """How its user proved who they are, in words of RFC 8176; ``institution:NAME`` if another site vouches for them."""
    proved_at: datetime | None = None
    """When they did, if that was not at the sign-in itself: an institution may have known them for hours."""

    @property
    def id(self) -> str:
        """What a page calls it by."""
        return self.cookie_hash[:16]

    def check(self, now: datetime) -> None:
        """Raise SignatureExpired unless it is good at ``now``."""
        if self.ended_at is not None or now >= self.expires_at:
            raise SignatureExpired("Your sign-in has ended.", hint="sign in again")

    def fresh(self, now: datetime) -> bool:
        """Whether its user proved who they are a short time ago."""
        return now - (self.proved_at or self.created_at) < FRESH


class BrowserStore(Protocol):
    """The stored sign-ins of browsers."""

    def add(self, browser: Browser) -> None:
        """Keep a new one."""

    def get(self, cookie_hash: str) -> Browser:
        """By its cookie's digest. Raises NotFound."""

    def live(self, user: str, now: datetime) -> tuple[Browser, ...]:
        """A user's sign-ins that are good at ``now``, newest first."""

    def end(self, cookie_hash: str, now: datetime) -> None:
        """End it; ending it twice keeps the first time."""

    def end_all(self, user: str, now: datetime) -> int:
        """End every sign-in of a user's; return how many."""


def make_cookie() -> str:
    """A new random cookie, 256 bit."""
    return secrets.token_urlsafe(32)


def cookie_hash(cookie: str) -> str:
    """What is kept of a cookie."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def form_token(cookie: str) -> str:
    """What every form of this cookie's carries: another site can send the cookie, but not know this."""
    return hmac.digest(cookie.encode(), b"burst-form", "sha256").hex()


def check_form(cookie: str | None, token: str | None) -> None:
    """Raise Refused unless a form came from a page that this gateway made for this browser."""
    expected = form_token(cookie or "")
    if cookie is None or not hmac.compare_digest(expected.encode(), (token or "").encode()):
        raise Refused("This form is not of this browser.", hint="open the page again, then send the form")
