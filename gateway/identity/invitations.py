"""Invitations: one-time codes of an administrator's, to become a user or to choose a new password.

Invariant: a code is for one name, good once and for a limited time; only its digest is kept.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.errors import NotAllowed
from gateway.identity.users import Role


class InvitationKind(StrEnum):
    """What its code is good for."""

    USER = "user"
    """To become a user."""
    PASSWORD = "password"  # noqa: S105 - no password
    """For a user who is there: to choose a password."""


@dataclass(frozen=True)
class Invitation:
    """One code; ``authorisation`` is the digest of the administrator's signed request. Times in UTC."""

    code_hash: str
    kind: InvitationKind
    user: str
    role: Role
    group: str | None
    """A group that the new user is to be a member of."""
    credits_ucr: int
    invited_by: str
    authorisation: str
    made_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


class InvitationStore(Protocol):
    """The stored invitations, inside one transaction of the database."""

    def put(self, invitation: Invitation) -> None:
        """Keep a new one; it ends those that its user has yet to use."""

    def find(self, code_hash: str) -> Invitation | None:
        """By its code's digest."""

    def use(self, code_hash: str, now: datetime) -> bool:
        """Use it up; False when somebody did."""

    def end_all(self, user: str, now: datetime) -> None:
        """End those that a user has yet to use."""


def make_code() -> str:
    """A new code, 192 bit."""
    return secrets.token_urlsafe(24)


def code_hash(code: str) -> str:
    """What is kept of a code."""
    return hashlib.sha256(f"burst invitation\n{code.strip()}".encode()).hexdigest()


def good(invitation: Invitation | None, user: str, now: datetime) -> Invitation:
    """The invitation, if it is one for this user now. Raises NotAllowed in the same words for all that it may lack."""
    if invitation is None or invitation.user != user or invitation.used_at or now >= invitation.expires_at:
        raise refused()
    return invitation


def refused() -> NotAllowed:
    """What is said of every code that is not good: unknown, used, too old, or another user's."""
    return NotAllowed("This invitation is not good.", hint="check name and code, or ask an administrator for a new one")
