"""Groups and projects: people who share things; a project also has an account that its members spend from.

Invariant: a group always has a leader; who leaves it has lost at once what it gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class GroupRole(StrEnum):
    """What somebody is to a group."""

    MEMBER = "member"
    LEADER = "leader"


@dataclass(frozen=True)
class Group:
    """A group; one with an account is a project."""

    name: str
    title: str
    account: str | None


@dataclass(frozen=True)
class Membership:
    """One user's place in a group; ``account`` is the group's."""

    group: str
    user: str
    role: GroupRole
    account: str | None


class GroupStore(Protocol):
    """The stored groups, inside one transaction of the database."""

    def add(self, group: Group, now: datetime) -> None:
        """Keep a new group. Raises Conflict when the name is taken."""

    def get(self, name: str) -> Group:
        """A group by name. Raises NotFound."""

    def all(self) -> tuple[Group, ...]:
        """Every group, by name."""

    def members(self, name: str) -> tuple[Membership, ...]:
        """Who is in it, by name."""

    def put(self, group: str, user: str, role: GroupRole, now: datetime) -> None:
        """Let a user in, or change what they are to it. Raises Conflict when it would be without a leader."""

    def remove(self, group: str, user: str) -> None:
        """End a user's place in it. Raises NotFound; Conflict when it would be without a leader."""
