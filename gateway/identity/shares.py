"""Shares: the stored access rules, and links that give a bearer what their maker may give.

Invariant: of a link's secret only its SHA-256 is kept; a link opens its own path for as long as its maker may.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from gateway.errors import Refused
from gateway.identity.access import AccessRule, Rights, Subject

_NO_LINK: Final = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
"""Compared with where there is no link of an id, so that both take as long."""


@dataclass(frozen=True)
class Grant:
    """A rule as it stands: about which job, by whom, by which signed request."""

    job: str
    rule: AccessRule
    by: str
    authorisation: str
    at: datetime


@dataclass(frozen=True)
class Link:
    """A bearer's way to ``path`` below the outputs of ``job``."""

    id: str
    job: str
    path: str
    rights: Rights
    made_by: str
    secret_hash: str
    authorisation: str
    made_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None

    def check(self, now: datetime) -> None:
        """Raise Refused unless it is good at ``now``."""
        if self.revoked_at is not None:
            raise Refused("This link was taken back.", hint="ask who sent it for another")
        if now >= self.expires_at:
            raise Refused(f"This link expired at {self.expires_at:%Y-%m-%d %H:%M} UTC.", hint="ask for another")


class ShareStore(Protocol):
    """The stored rules and links, inside one transaction of the database."""

    def put(self, grant: Grant) -> None:
        """Keep a rule; it replaces the one about the same path and subject."""

    def remove(self, job: str, path: str, subject: Subject) -> None:
        """Take a rule away. Raises NotFound."""

    def of_job(self, job: str) -> tuple[Grant, ...]:
        """The rules about a job's outputs, by path and age."""

    def given(self, user: str, groups: frozenset[str]) -> tuple[Grant, ...]:
        """The rules by which others let a user or one of these groups in, newest first."""

    def add_link(self, link: Link) -> None:
        """Keep a new link."""

    def link(self, link_id: str) -> Link | None:
        """A link by its id."""

    def links(self, user: str | None, job: str | None = None) -> tuple[Link, ...]:
        """The links that a user (None: anybody) made, newest first; of one job only, if one is named."""

    def revoke_link(self, link_id: str, now: datetime) -> None:
        """End a link; ending it twice keeps the first time."""


def new_link_id() -> str:
    """What a link is called; it is no secret."""
    return secrets.token_hex(8)


def new_secret() -> str:
    """What opens a link: 256 bits."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> str:
    """What is kept of it; of 256 random bits a plain digest tells nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def opened(link: Link | None, secret: str, now: datetime) -> Link:
    """The link, if ``secret`` opens it. Raises Refused, in the same words where there is no such link."""
    kept = link.secret_hash if link else _NO_LINK
    fits = hmac.compare_digest(kept, secret_hash(secret))
    if link is None or not fits:
        raise Refused("This link opens nothing.", hint="copy the whole link, with what follows the #")
    link.check(now)
    return link
