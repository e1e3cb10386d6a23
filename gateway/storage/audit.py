"""SqlAudit: the audit log in SQL.

Invariant: it works inside the caller's serialisable transaction, so a record commits with what it tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, or_, select

from gateway.identity.audit import FIRST_HASH, Act, Chain, Concerns, Outcome, Question, Record, check_chain
from gateway.storage.group_tables import audit_records
from gateway.storage.tables import jobs

# Made once: this is done in nearly every transaction.
_LAST = select(audit_records.c.seq, audit_records.c.hash).order_by(audit_records.c.seq.desc()).limit(1)
_INSERT = audit_records.insert()
_ACT_FIELDS = tuple(field.name for field in fields(Act))


class SqlAudit:
    """Implements ``gateway.identity.audit.AuditLog``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell(self, act: Act, now: datetime) -> None:
        """See ``AuditLog.tell``."""
        self.tell_all((act,), now)

    def tell_all(self, acts: Sequence[Act], now: datetime) -> None:
        """Several at once, in this order; one at least."""
        last = self._connection.execute(_LAST).one_or_none()
        seq, head = (last.seq, last.hash) if last else (0, FIRST_HASH)
        rows = []
        for number, act in enumerate(acts, seq + 1):
            record = Record(number, now, act, head)
            row = vars(act) | {"seq": number, "at": now, "prev_hash": head, "hash": (head := record.hash)}
            rows.append(row | {"outcome": act.outcome.value})
        self._connection.execute(_INSERT, rows)

    def find(self, question: Question) -> tuple[Record, ...]:
        """See ``AuditLog.find``."""
        query = select(audit_records).where(*_wanted(question)).order_by(audit_records.c.seq.desc())
        return tuple(map(_record, self._connection.execute(query.limit(question.limit)).mappings()))

    def verify_chain(self, known: str | None = None) -> Chain:
        """See ``AuditLog.verify_chain``."""
        return check_chain(self._chain(), known)

    def _chain(self) -> Iterator[tuple[Record, str]]:
        rows = self._connection.execute(select(audit_records).order_by(audit_records.c.seq)).mappings()
        for row in rows:
            yield _record(row), row["hash"]


def _wanted(question: Question) -> Iterator[ColumnElement[bool]]:
    log = audit_records.c
    if question.concerns is not None:
        yield _concerning(question.concerns)
    if question.job is not None:
        yield or_(log.job == question.job, log.subject == f"job:{question.job}")
    if question.user is not None:
        yield or_(log.actor == question.user, log.subject == f"user:{question.user}")
    if question.node is not None:
        yield or_(log.actor == f"node:{question.node}", log.subject == f"node:{question.node}")
    if question.account is not None:
        yield log.subject == f"account:{question.account}"
    if question.since is not None:
        yield log.at >= question.since
    if question.until is not None:
        yield log.at < question.until
    if question.outcome is not None:
        yield log.outcome == question.outcome.value
    if question.before is not None:
        yield log.seq < question.before


def _concerning(whom: Concerns) -> ColumnElement[bool]:
    log = audit_records.c
    theirs = select(jobs.c.id).where(jobs.c.user_name == whom.user)
    return or_(log.actor == whom.user, log.job.in_(theirs), log.subject.in_(sorted(whom.subjects)))


def _record(row: RowMapping) -> Record:
    act = {name: row[name] for name in _ACT_FIELDS} | {"outcome": Outcome(row["outcome"])}
    return Record(row["seq"], row["at"], Act(**act), row["prev_hash"])
