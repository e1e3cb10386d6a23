"""Audit: who did what, under which authorisation, for which job, at what price.

Invariant: records are only added, each in the transaction of what it tells, and chained to the one before by hash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

FIRST_HASH: Final = "0" * 64


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
        facts = asdict(self.act) | {"seq": self.seq, "at": at}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256((self.prev_hash + text).encode()).hexdigest()


class AuditLog(Protocol):
    """The stored log, inside one transaction of the database."""

    def tell(self, act: Act, now: datetime) -> None:
        """Append a record."""
