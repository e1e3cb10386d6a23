"""Sealed values: secrets in the database that only the sealing key opens, wherever a repository has put one.

Invariant: a value is found by how it begins, so a new table with secrets needs nothing here; values that are not sealed
are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Connection, String, Table, inspect, select, update

from gateway.identity.sealing import MARK, Sealer
from gateway.storage import work
from gateway.storage.columns import metadata

__all__ = ["count_sealed", "reseal_all"]

_ = work  # it loads every module of tables


def count_sealed(connection: Connection) -> int:
    """How many values of the database are sealed."""
    return sum(1 for _ in _sealed(connection))


def reseal_all(connection: Connection, sealer: Sealer) -> int:
    """Seal every value under the key that seals now, in the caller's transaction; how many. Raises SetupError."""
    found = list(_sealed(connection))
    for table, column, row in found:
        *key, value = row
        mine = [each == part for each, part in zip(table.primary_key.columns, key, strict=True)]
        statement = update(table).where(*mine, column == value)
        connection.execute(statement.values({column: sealer.reseal(str(value))}))
    return len(found)


def _sealed(connection: Connection) -> Iterator[tuple[Table, Column[Any], tuple[Any, ...]]]:
    """Each with its primary key, the value last."""
    there = set(inspect(connection).get_table_names())
    for table in metadata.sorted_tables:
        for column in table.columns:
            if table.name in there and isinstance(column.type, String):
                query = select(*table.primary_key.columns, column.label("sealed")).where(column.startswith(MARK))
                for row in connection.execute(query):
                    yield table, column, tuple(row)
