"""SqlGroups: groups, projects and who is in them, in SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, select, update

from gateway.errors import Conflict, NotFound
from gateway.identity.groups import Group, GroupRole, Membership
from gateway.storage.database import insert_new
from gateway.storage.group_tables import groups, memberships


class SqlGroups:
    """Implements ``gateway.identity.groups.GroupStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, group: Group, now: datetime) -> None:
        """See ``GroupStore.add``."""
        if not insert_new(self._connection, groups, vars(group) | {"created_at": now}):
            raise Conflict(f"There is a group {group.name} already.", hint="choose another name")

    def get(self, name: str) -> Group:
        """See ``GroupStore.get``."""
        found = [group for group in self.all() if group.name == name]
        if not found:
            raise NotFound(f"There is no group {name}.", hint="burst groups lists yours")
        return found[0]

    def all(self) -> tuple[Group, ...]:
        """See ``GroupStore.all``."""
        rows = self._connection.execute(select(groups).order_by(groups.c.name)).mappings()
        return tuple(Group(row["name"], row["title"], row["account"]) for row in rows)

    def members(self, name: str) -> tuple[Membership, ...]:
        """See ``GroupStore.members``."""
        return of(self._connection, _MEMBERS.where(memberships.c.group_name == name))

    def put(self, group: str, user: str, role: GroupRole, now: datetime) -> None:
        """See ``GroupStore.put``."""
        row = {"group_name": group, "user_name": user, "role": role.value, "since": now}
        if not insert_new(self._connection, memberships, row):
            self._connection.execute(update(memberships).where(_place(group, user)).values(role=role.value))
        self._led(group)

    def remove(self, group: str, user: str) -> None:
        """See ``GroupStore.remove``."""
        if self._connection.execute(delete(memberships).where(_place(group, user))).rowcount != 1:
            raise NotFound(f"{user} is not in the group {group}.")
        self._led(group)

    def _led(self, group: str) -> None:
        if all(each.role is not GroupRole.LEADER for each in self.members(group)):
            raise Conflict(f"The group {group} would be without a leader.", hint="make somebody else its leader first")


_MEMBERS = select(memberships, groups.c.account).join(groups).order_by(memberships.c.user_name)


def of_user(connection: Connection, user: str) -> tuple[Membership, ...]:
    """Every group that a user is in, by name."""
    query = select(memberships, groups.c.account).join(groups).where(memberships.c.user_name == user)
    return of(connection, query.order_by(memberships.c.group_name))


def of(connection: Connection, query: Select[Any]) -> tuple[Membership, ...]:
    """The memberships that a query finds."""
    rows = connection.execute(query).mappings()
    return tuple(
        Membership(row["group_name"], row["user_name"], GroupRole(row["role"]), row["account"]) for row in rows
    )


def _place(group: str, user: str) -> ColumnElement[bool]:
    return (memberships.c.group_name == group) & (memberships.c.user_name == user)
