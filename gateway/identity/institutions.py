"""Institution: an OpenID Connect provider that may say who somebody is, and whom they are here.

Invariant: only institutions of the settings count; a person is (issuer, subject) and nothing else: an address or a name
that an institution tells finds nobody's account. A sign-in ends in the browser that began it, once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from urllib.parse import urlencode

from gateway.errors import Refused
from gateway.identity.passkeys import LONGEST_NAME

LIFETIME: Final = timedelta(minutes=10)
"""How long somebody may take on the institution's pages."""
SCOPES: Final = "openid profile email"
USER_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{0,31}")
"""What an institution's user name must look like to become one here."""


@dataclass(frozen=True)
class Institution:
    """One of the settings' ``[[institutions]]``; ``secret`` reads the client's secret each time."""

    name: str
    title: str
    issuer: str
    client_id: str
    secret: Callable[[], str]
    user_claim: str = "preferred_username"
    email_domains: tuple[str, ...] = ()
    trusts_email: bool = False
    subject_pattern: str | None = None
    auto_create: bool = False

    def admit(self, person: Person) -> None:
        """Raise Refused unless the settings let this person in."""
        if self.subject_pattern is not None and not re.fullmatch(self.subject_pattern, person.subject):
            raise Refused(f"{self.title} is not to sign in this account here.", hint="ask the gateway's operator")
        if not self.email_domains:
            return
        _, at, domain = (person.email or "").rpartition("@")
        good = at and (person.email_verified or self.trusts_email)
        if not good or domain.casefold() not in self.email_domains:
            raise Refused(f"{self.title} does not tell an address that is let in.", hint="ask the gateway's operator")

    def new_user_name(self, person: Person) -> str | None:
        """The name of a user that is to be made for this person; None when none may be."""
        fits = person.name is not None and USER_NAME.fullmatch(person.name)
        return person.name if self.auto_create and fits else None


@dataclass(frozen=True)
class Person:
    """What an institution's verified ID token says."""

    issuer: str
    subject: str
    name: str | None = None
    email: str | None = None
    email_verified: bool = False
    proved_at: datetime | None = None
    """When they proved to the institution who they are, if it tells."""

    @property
    def label(self) -> str:
        """What its user knows it by on a page."""
        return (self.email or self.name or self.subject)[: 2 * LONGEST_NAME]


@dataclass(frozen=True)
class Identity:
    """Somebody at an institution who is ``user`` here."""

    id: str
    issuer: str
    subject: str
    user: str
    institution: str
    label: str
    linked_at: datetime
    made_user: bool = False
    """The user was made for it, and has no password that anybody knows."""


@dataclass(frozen=True)
class Flow:
    """A sign-in that is on its way through the institution's pages; the state and the cookie are kept as digests."""

    state_hash: str
    cookie_hash: str
    institution: str
    expires_at: datetime
    next: str
    public_key: Mapping[str, str] | None = None
    """The key that the browser made for itself, to be certified."""
    browser: str | None = None
    """The signed-in browser that links the account to its user; None: somebody signs in."""


class IdentityStore(Protocol):
    """The stored identities and flows, inside one transaction of the database."""

    def begin(self, flow: Flow) -> None:
        """Keep a flow."""

    def take(self, state_hash: str) -> Flow:
        """A flow, which is used up now. Raises NotFound."""

    def find(self, issuer: str, subject: str) -> Identity | None:
        """Who this person is here; None: nobody."""

    def link(self, identity: Identity) -> None:
        """Keep an identity. Raises Conflict when the person is somebody here already."""

    def of_user(self, user: str) -> tuple[Identity, ...]:
        """Every identity of a user, oldest first."""

    def unlink(self, user: str, identity_id: str) -> None:
        """Forget it. Raises NotFound when the user has none of that id."""


@dataclass(frozen=True)
class Secrets:
    """What one flow keeps from everybody but its browser: all derived from the cookie, so nothing is stored."""

    cookie: str
    state: str

    @classmethod
    def new(cls) -> Secrets:
        """Of a new flow."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32))

    @property
    def nonce(self) -> str:
        """What the ID token must repeat."""
        return self._derived("nonce").hex()

    @property
    def verifier(self) -> str:
        """PKCE's code verifier (RFC 7636 section 4.1)."""
        return self._derived("pkce").hex()

    @property
    def code_challenge(self) -> str:
        """Its S256 challenge."""
        return _base64url(hashlib.sha256(self.verifier.encode()).digest())

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self.cookie.encode(), f"{purpose}:{self.state}".encode(), "sha256")


def kept(value: str) -> str:
    """What is stored of a state or a cookie."""
    return hashlib.sha256(value.encode()).hexdigest()


def authorization_url(
    endpoint: str, institution: Institution, own: Secrets, redirect_uri: str, max_age_s: int | None
) -> str:
    """Where the browser goes (OpenID Connect Core section 3.1.2.1); ``max_age_s``: how old their proof may be."""
    query = {
        "response_type": "code",
        "client_id": institution.client_id,
        "redirect_uri": redirect_uri,
        "scope": SCOPES,
        "state": own.state,
        "nonce": own.nonce,
        "code_challenge": own.code_challenge,
        "code_challenge_method": "S256",
        **({} if max_age_s is None else {"max_age": str(max_age_s)}),
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


def check_flow(flow: Flow, institution: Institution, cookie: str, now: datetime) -> None:
    """Raise Refused unless this browser began the flow, with this institution, a short time ago."""
    mine = hmac.compare_digest(flow.cookie_hash, kept(cookie))
    if not mine or flow.institution != institution.name:
        raise not_begun_here()
    if now >= flow.expires_at:
        raise Refused("This sign-in took too long.", hint="begin it again")


def not_begun_here() -> Refused:
    """For an answer that belongs to no sign-in of this browser: forged, used before, or another browser's."""
    return Refused("This sign-in was not begun in this browser, or is over.", hint="begin it again")


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
