"""SqlKeyRecords: which attempts were given keys to the store, in SQL.

Invariant: a time that was recorded is never changed, so an attempt that was ended stays ended.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, select, update

from gateway.staging.job_keys import KeyRecord
from gateway.storage.database import insert_new
from gateway.storage.tables import job_keys


class SqlKeyRecords:
    """Implements ``gateway.staging.job_keys.KeyRecords`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self, job: str, label: str, now: datetime, chain: str = "") -> bool:
        """See ``KeyRecords.open``."""
        if insert_new(self._connection, job_keys, {"job": job, "label": label, "opened_at": now, "chain": chain}):
            return True
        known = self.get(job, label)
        return known is not None and known.ended_at is None

    def end(self, job: str, label: str, now: datetime) -> None:
        """See ``KeyRecords.end``."""
        self._connection.execute(
            update(job_keys).where(_named(job, label) & job_keys.c.ended_at.is_(None)).values(ended_at=now)
        )

    def close(self, job: str, label: str, now: datetime) -> None:
        """See ``KeyRecords.close``."""
        self._connection.execute(
            update(job_keys).where(_named(job, label) & job_keys.c.withdrawn_at.is_(None)).values(withdrawn_at=now)
        )

    def get(self, job: str, label: str) -> KeyRecord | None:
        """See ``KeyRecords.get``."""
        return next(iter(self._select(_named(job, label))), None)

    def of(self, job: str) -> tuple[KeyRecord, ...]:
        """See ``KeyRecords.of``."""
        return self._select(job_keys.c.job == job)

    def not_withdrawn(self) -> tuple[KeyRecord, ...]:
        """See ``KeyRecords.not_withdrawn``."""
        return self._select(job_keys.c.withdrawn_at.is_(None))

    def _select(self, which: ColumnElement[bool]) -> tuple[KeyRecord, ...]:
        query = select(job_keys).where(which).order_by(job_keys.c.opened_at, job_keys.c.label)
        return tuple(KeyRecord(**row) for row in self._connection.execute(query).mappings())


def _named(job: str, label: str) -> ColumnElement[bool]:
    return (job_keys.c.job == job) & (job_keys.c.label == label)
