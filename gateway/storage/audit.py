"""SqlAudit: the audit log in SQL.

Invariant: it works inside the caller's serialisable transaction, so a record commits with what it tells.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, select

from gateway.identity.audit import FIRST_HASH, Act, Record
from gateway.storage.group_tables import audit_records


class SqlAudit:
    """Implements ``gateway.identity.audit.AuditLog``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell(self, act: Act, now: datetime) -> None:
        """See ``AuditLog.tell``."""
        query = select(audit_records.c.seq, audit_records.c.hash).order_by(audit_records.c.seq.desc()).limit(1)
        last = self._connection.execute(query).one_or_none()
        seq, head = (last.seq, last.hash) if last else (0, FIRST_HASH)
        record = Record(seq + 1, now, act, head)
        row = asdict(act) | {"seq": record.seq, "at": now, "prev_hash": head, "hash": record.hash}
        self._connection.execute(audit_records.insert().values(**row | {"outcome": act.outcome.value}))
