"""SqlPrincipals: service principals and their keys, in SQL.

Invariant: a removed key stays in its table, so that it is never registered again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from gateway.errors import Conflict, NotFound
from gateway.identity.principals import Principal, PrincipalKey
from gateway.identity.scopes import Scope
from gateway.storage.database import insert_new
from gateway.storage.principal_tables import principal_keys, principals


class SqlPrincipals:
    """Implements ``gateway.identity.principals.PrincipalStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, principal: Principal) -> None:
        """See ``PrincipalStore.add``."""
        row = {**vars(principal), "scopes": sorted(principal.scopes)}
        del row["keys"]
        self._connection.execute(principals.insert().values(**row))

    def get(self, name: str) -> Principal:
        """See ``PrincipalStore.get``."""
        found = self._select(principals.c.name == name)
        if not found:
            raise NotFound(f"There is no service principal {name}.", hint="burst principals lists yours")
        return found[0]

    def all(self) -> tuple[Principal, ...]:
        """See ``PrincipalStore.all``."""
        return self._select()

    def key(self, key_id: str) -> PrincipalKey | None:
        """See ``PrincipalStore.key``."""
        found = self._keys(principal_keys.c.id == key_id)
        return found[0] if found else None

    def add_key(self, key: PrincipalKey) -> None:
        """See ``PrincipalStore.add_key``."""
        if not insert_new(self._connection, principal_keys, vars(key) | {"public_key": dict(key.public_key)}):
            raise Conflict("This key was registered before.", hint="burst principals new-key makes another one")

    def note_use(self, key_id: str, now: datetime) -> None:
        """See ``PrincipalStore.note_use``."""
        self._set(principal_keys.c.id == key_id, used_at=now)

    def remove_key(self, key_id: str, now: datetime) -> None:
        """See ``PrincipalStore.remove_key``."""
        self._set(principal_keys.c.id == key_id, removed_at=now)

    def remove(self, name: str, now: datetime) -> None:
        """See ``PrincipalStore.remove``."""
        self._set(principal_keys.c.principal == name, removed_at=now)
        self._connection.execute(update(principals).where(principals.c.name == name).values(removed_at=now))

    def _select(self, *which: ColumnElement[bool]) -> tuple[Principal, ...]:
        query = select(principals).where(principals.c.removed_at.is_(None), *which).order_by(principals.c.name)
        found = []
        for row in self._connection.execute(query).mappings().all():
            facts = {name: value for name, value in row.items() if name != "removed_at"}
            one = Principal(**facts | {"scopes": frozenset(map(Scope, row["scopes"]))})
            found.append(replace(one, keys=self._keys(principal_keys.c.principal == one.name)))
        return tuple(found)

    def _keys(self, which: ColumnElement[bool]) -> tuple[PrincipalKey, ...]:
        live = which & principal_keys.c.removed_at.is_(None)
        query = select(principal_keys).where(live).order_by(principal_keys.c.created_at, principal_keys.c.id)
        rows = self._connection.execute(query).mappings()
        return tuple(PrincipalKey(**{k: value for k, value in row.items() if k != "removed_at"}) for row in rows)

    def _set(self, which: ColumnElement[bool], **values: Any) -> None:
        live = which & principal_keys.c.removed_at.is_(None)
        self._connection.execute(update(principal_keys).where(live).values(**values))
