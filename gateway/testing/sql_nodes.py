"""SqlNodes: the nodes of a world in SQLite, by the repository of production; a history uses the same file as the last.

Invariant: ``rows`` is what is stored once the last transaction has ended, committed or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.storage.database import Database
from gateway.storage.nodes import SqlFleet

_EMPTIED = ("node_events", "nodes", "unmatched_effects")
"""The audit log cannot be emptied, nor need it be."""


class SqlNodes:
    """Implements ``gateway.testing.world.Stored`` in ``folder``, best one that is in memory."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'nodes.db'}")
        self.database.migrate()
        self._rows: Mapping[str, ElasticNode] | None = None

    @contextmanager
    def begin(self) -> Iterator[Fleet]:
        """See ``Stored.begin``."""
        try:
            with self.database.begin() as connection:
                yield SqlFleet(connection)
        finally:
            self._rows = None

    @property
    def rows(self) -> Mapping[str, ElasticNode]:
        """See ``Stored.rows``."""
        if self._rows is None:
            with self.database.read() as connection:
                self._rows = {node.name: node for node in SqlFleet(connection).all()}
        return self._rows

    @property
    def strays(self) -> Collection[str]:
        """See ``Stored.strays``."""
        with self.database.read() as connection:
            return [effect.machine_id for effect in SqlFleet(connection).effects()]

    def kinds(self) -> Counter[str]:
        """See ``Stored.kinds``."""
        with self.database.read() as connection:
            found = connection.exec_driver_sql("SELECT kind, count(*) FROM node_events GROUP BY kind")
            return Counter({str(row[0]): int(row[1]) for row in found})

    def emptied(self) -> SqlNodes:
        """The same, for another history."""
        with self.database.begin() as connection:
            for table in _EMPTIED:
                connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - names of our own
        self._rows = None
        return self

    def close(self) -> None:
        """Let the file go."""
        self.database.close()
