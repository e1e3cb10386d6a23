"""Audit: who did what, under which authorisation, for which job, at what price.

Invariant: records are only added, each in the transaction of what it tells, and chained to the one before by hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

from gateway.errors import AuditBroken

FIRST_HASH: Final = "0" * 64
_HINT: Final = "compare with a backup"


class Outcome(StrEnum):
    """How it ended; an alarm is something that somebody should look at."""

    DONE = "done"
    REFUSED = "refused"
    ALARM = "alarm"


@dataclass(frozen=True)
class Act:
    """What is to be recorded.

    ``actor`` is a user's name, or ``node:NAME``, ``job:ID``, ``site:NAME``, ``gateway``; ``subject`` is typed in the
    same way, as in ``job:ID``, ``node:NAME``, ``account:NAME``, ``user:NAME``, ``group:NAME``, ``session:ID``.
    """

    actor: str
    action: str
    subject: str
    text: str
    outcome: Outcome = Outcome.DONE
    authorisation: str | None = None
    """The digest of the signed request, by which its evidence is found."""
    job: str | None = None
    amount_ucr: int | None = None
    address: str | None = None


@dataclass(frozen=True)
class Record:
    """An act as it stands in the log."""

    seq: int
    at: datetime
    act: Act
    prev_hash: str

    @property
    def hash(self) -> str:
        """SHA-256, hex, of ``prev_hash`` and the canonical JSON of all else."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        facts = vars(self.act) | {"seq": self.seq, "at": at}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256((self.prev_hash + text).encode()).hexdigest()


@dataclass(frozen=True)
class Concerns:
    """Whom a record concerns: who did it, whose job or account it touches, or whom it is about."""

    user: str
    accounts: frozenset[str]
    groups: frozenset[str]

    @property
    def subjects(self) -> frozenset[str]:
        """What they are called in the log."""
        named = (("user", [self.user]), ("account", self.accounts), ("group", self.groups))
        return frozenset(f"{kind}:{name}" for kind, names in named for name in names)


@dataclass(frozen=True)
class Question:
    """Which records are wanted: those that fit all that is said."""

    concerns: Concerns | None = None
    job: str | None = None
    user: str | None = None
    node: str | None = None
    account: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not included."""
    outcome: Outcome | None = None
    before: int | None = None
    """Older than the record of this number."""
    limit: int = 100


@dataclass(frozen=True)
class Chain:
    """A log that agrees with itself: how many records, and the last one's hash, to be compared with an older one."""

    records: int
    head: str


class AuditLog(Protocol):
    """The stored log, inside one transaction of the database."""

    def tell(self, act: Act, now: datetime) -> None:
        """Append a record."""

    def find(self, question: Question) -> tuple[Record, ...]:
        """The records that answer, newest first."""

    def verify_chain(self, known: str | None = None) -> Chain:
        """Read every record; ``known`` is the hash of one that must be among them, as an earlier look told it.

        Raises AuditBroken, naming the first record that does not agree.
        """


def check_chain(records: Iterable[tuple[Record, str]], known: str | None = None) -> Chain:
    """Follow ``(record, stored hash)`` from the first. Raises AuditBroken at the first that does not fit."""
    head, count, seen = FIRST_HASH, 0, known in {None, FIRST_HASH}
    for record, stored in records:
        if record.seq != count + 1 or record.prev_hash != head:
            raise AuditBroken(f"Record {record.seq} does not follow the one before it.", hint=_HINT)
        if record.hash != stored:
            raise AuditBroken(f"Record {record.seq} was changed after it was written.", hint=_HINT)
        head, count, seen = stored, count + 1, seen or stored == known
    if not seen:
        raise AuditBroken(f"The record of the hash {(known or '')[:16]}… is gone.", hint=_HINT)
    return Chain(count, head)
