"""User: a person with an account, and the port to the stored ones.

Invariant: a password enters as text and is kept only as its hash, apart from the User.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.errors import Conflict, Refused
from gateway.identity.groups import GroupRole, Membership


class Role(StrEnum):
    """What a user is to the gateway."""

    USER = "user"
    ADMIN = "admin"
    SERVICE = "service"
    """A program of a project's or of the site's: it has keys and no password (``identity.principals``)."""


@dataclass(frozen=True)
class User:
    """A person; ``account`` is the one that their jobs are paid from unless they name a project's."""

    name: str
    role: Role
    account: str
    unix_name: str | None = None
    """Their name on a site's cluster; None: jobs run as the gateway's job user."""
    groups: tuple[Membership, ...] = ()
    disabled: bool = False
    """Whether an administrator has shut them out."""

    def check(self) -> None:
        """Raise Refused for one who is shut out."""
        if self.disabled:
            raise Refused(f"The user {self.name} is disabled.", hint="ask an administrator")

    def check_person(self) -> None:
        """Raise Conflict for who has no password and no other role here: a program, or a visitor."""
        if self.role is Role.SERVICE:
            raise Conflict(f"{self.name} is a service principal: it has keys alone.", hint="burst principals")
        self.check_resident()

    def check_resident(self) -> None:
        """Raise Conflict for a visitor: what those may is what their gateway is trusted for."""
        if "@" in self.name:
            raise Conflict(f"{self.name} comes from another gateway.", hint="burst peers trust says what its users may")

    @property
    def accounts(self) -> frozenset[str]:
        """What they may spend from: their own account and their projects'."""
        return frozenset((self.account, *(each.account for each in self.groups if each.account)))

    @property
    def group_names(self) -> frozenset[str]:
        """The groups that they are in."""
        return frozenset(each.group for each in self.groups)

    @property
    def led_accounts(self) -> frozenset[str]:
        """The accounts whose budgets they set: their own and those of projects that they lead."""
        led = (each.account for each in self.groups if each.account and each.role is GroupRole.LEADER)
        return frozenset((self.account, *led))


class UserStore(Protocol):
    """The stored users."""

    def add(self, user: User, password_hash: str, now: datetime) -> None:
        """Keep a new user. Raises Conflict when the name is taken."""

    def get(self, name: str) -> User:
        """A user by name. Raises NotFound."""

    def pay_from(self, name: str, account: str) -> None:
        """Let a user's jobs be paid from another account. Raises NotFound."""

    def visitors(self, peer: str) -> tuple[str, ...]:
        """The names of all who came from the gateway ``peer``."""

    def password_hash(self, name: str) -> str | None:
        """What is kept of a user's password; None when there is no such user."""

    def all(self) -> tuple[User, ...]:
        """Every user, by name."""

    def set_role(self, name: str, role: Role) -> None:
        """Change what a user is. Raises NotFound; Conflict when nobody would be an administrator."""

    def set_password(self, name: str, password_hash: str) -> None:
        """Change what is kept of a user's password. Raises NotFound."""

    def disable(self, name: str, now: datetime) -> None:
        """Shut a user out. Raises NotFound; Conflict when nobody would be an administrator."""

    def enable(self, name: str) -> None:
        """Let a user in again. Raises NotFound."""
