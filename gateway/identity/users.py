"""User: a person with an account, and the port to the stored ones.

Invariant: a password enters as text and is kept only as its hash, apart from the User.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """What a user is to the gateway."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True)
class User:
    """A person; ``account`` is the one that their jobs are paid from."""

    name: str
    role: Role
    account: str
    unix_name: str | None = None
    """Their name on a site's cluster; None: jobs run as the gateway's job user."""


class UserStore(Protocol):
    """The stored users."""

    def add(self, user: User, password_hash: str, now: datetime) -> None:
        """Keep a new user. Raises Conflict when the name is taken."""

    def get(self, name: str) -> User:
        """A user by name. Raises NotFound."""

    def password_hash(self, name: str) -> str | None:
        """What is kept of a user's password; None when there is no such user."""
