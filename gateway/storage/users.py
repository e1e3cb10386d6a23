"""SqlUsers: people, in SQL.

Invariant: somebody is an administrator who is not shut out: a change that would leave none is taken back.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, RowMapping, select, update

from gateway.errors import Conflict, NotFound
from gateway.identity.users import Role, User
from gateway.storage.database import insert_new
from gateway.storage.groups import of_user
from gateway.storage.tables import users


class SqlUsers:
    """Implements ``gateway.identity.users.UserStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, user: User, password_hash: str, now: datetime) -> None:
        """See ``UserStore.add``."""
        row = {
            "name": user.name,
            "password_hash": password_hash,
            "role": user.role.value,
            "account": user.account,
            "unix_name": user.unix_name,
            "created_at": now,
        }
        if not insert_new(self._connection, users, row):
            raise Conflict(f"There is a user {user.name} already.", hint="choose another name")

    def get(self, name: str) -> User:
        """See ``UserStore.get``."""
        row = self._connection.execute(select(users).where(users.c.name == name)).mappings().one_or_none()
        if row is None:
            raise _unknown(name)
        return self._user(row)

    def all(self) -> tuple[User, ...]:
        """See ``UserStore.all``."""
        return tuple(map(self._user, self._connection.execute(select(users).order_by(users.c.name)).mappings()))

    def password_hash(self, name: str) -> str | None:
        """See ``UserStore.password_hash``."""
        return self._connection.execute(select(users.c.password_hash).where(users.c.name == name)).scalar_one_or_none()

    def set_role(self, name: str, role: Role) -> None:
        """See ``UserStore.set_role``."""
        self._change(name, role=role.value)
        self._administered()

    def set_password(self, name: str, password_hash: str) -> None:
        """See ``UserStore.set_password``."""
        self._change(name, password_hash=password_hash)

    def disable(self, name: str, now: datetime) -> None:
        """See ``UserStore.disable``."""
        self._change(name, disabled_at=now)
        self._administered()

    def enable(self, name: str) -> None:
        """See ``UserStore.enable``."""
        self._change(name, disabled_at=None)

    def _change(self, name: str, **values: object) -> None:
        if self._connection.execute(update(users).where(users.c.name == name).values(**values)).rowcount != 1:
            raise _unknown(name)

    def _administered(self) -> None:
        able = (users.c.role == Role.ADMIN.value) & users.c.disabled_at.is_(None)
        if self._connection.execute(select(users.c.name).where(able).limit(1)).first() is None:
            raise Conflict("Nobody would be an administrator.", hint="make somebody else one first: burst users role")

    def _user(self, row: RowMapping) -> User:
        return User(
            row["name"],
            Role(row["role"]),
            row["account"],
            row["unix_name"],
            of_user(self._connection, row["name"]),
            disabled=row["disabled_at"] is not None,
        )


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no user {name}.", hint="an administrator can add one")
