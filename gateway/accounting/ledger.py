"""Ledger: double entry over accounts, with a hold for every job; the port and what goes through it.

Invariant: the entries of a transaction sum to zero, so all entries do; an account's hold is covered when it is made; a
job is held once and settled once, for at most its hold; entries are only added, each chained to the one before by hash.

    deposit   credit issued → account        settle   holds → revenue (what was used)
    hold      account → holds                         holds → account (the rest)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

from gateway.accounting.units import MAX_UCR, format_credits
from gateway.errors import InsufficientFunds, InvalidRequest, LedgerBroken

# A colon is in no user's or project's name, so that these cannot be taken.
ISSUED: Final = "system:issued"
"""Where credits come from: as far below zero as all others together are above. The first migration makes the three."""
HOLDS: Final = "system:holds"
REVENUE: Final = "system:revenue"
SYSTEM_ACCOUNTS: Final = (ISSUED, HOLDS, REVENUE)

FIRST_HASH: Final = "0" * 64


class AccountKind(StrEnum):
    """What an account is for."""

    USER = "user"
    PROJECT = "project"
    SYSTEM = "system"


class EntryKind(StrEnum):
    """Why money moved."""

    DEPOSIT = "deposit"
    HOLD = "hold"
    CHARGE = "charge"
    REFUND = "refund"


@dataclass(frozen=True)
class Posting:
    """One side of a transaction: a signed amount for an account."""

    account: str
    amount_ucr: int
    kind: EntryKind


@dataclass(frozen=True)
class Entry:
    """A posting as it stands in the ledger. ``authorisation`` is the digest of the signed request that caused it."""

    seq: int
    txn: str
    account: str
    amount_ucr: int
    kind: EntryKind
    memo: str
    job: str | None
    authorisation: str | None
    at: datetime
    prev_hash: str

    @property
    def hash(self) -> str:
        """SHA-256, hex, of ``prev_hash`` and the canonical JSON of all else."""
        facts = asdict(self) | {"at": self.at.astimezone(UTC).isoformat(timespec="microseconds")}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256((self.prev_hash + text).encode()).hexdigest()


@dataclass(frozen=True)
class Balance:
    """An account's money: free to spend (below zero inside an overdraft), and held for its jobs."""

    account: str
    available_ucr: int
    held_ucr: int
    overdraft_ucr: int


@dataclass(frozen=True)
class Hold:
    """Money set aside for a job; ``charged_ucr`` None: not settled."""

    job: str
    account: str
    amount_ucr: int
    charged_ucr: int | None = None


@dataclass(frozen=True)
class Settlement:
    """What became of a hold."""

    charged_ucr: int
    refunded_ucr: int


@dataclass(frozen=True)
class Audit:
    """A ledger that agrees with itself: how many entries, and the last one's hash, to be compared with an older one."""

    entries: int
    head: str


class Ledger(Protocol):
    """The stored ledger, inside one transaction of the database."""

    def open_account(self, name: str, kind: AccountKind, overdraft_ucr: int = 0) -> None:
        """Make an account known; one that is keeps its money. Raises Conflict when it is of another kind."""

    def balance(self, account: str) -> Balance:
        """An account's money. Raises NotFound."""

    def balances(self) -> tuple[Balance, ...]:
        """That of every account but the system's, by name."""

    def deposit(
        self, account: str, amount_ucr: int, memo: str, now: datetime, authorisation: str | None = None
    ) -> Balance:
        """Give credits to an account. Raises NotFound, InvalidRequest for an amount that is not positive."""

    def hold(self, job: str, account: str, amount_ucr: int, authorisation: str, now: datetime) -> Hold:
        """Set money aside for a job. Raises InsufficientFunds, NotFound, Conflict for a second hold."""

    def held(self, job: str) -> Hold:
        """A job's hold. Raises NotFound."""

    def settle(self, job: str, charge_ucr: int, memo: str, now: datetime) -> Settlement:
        """Take ``charge_ucr`` of a job's hold and give back the rest; the same charge again answers the same.

        Raises Conflict for another charge than the first, or one above the hold; NotFound without a hold.
        """

    def entries(self, account: str) -> tuple[Entry, ...]:
        """An account's entries, oldest first."""

    def verify_chain(self) -> Audit:
        """Read every entry and compare the sums. Raises LedgerBroken, naming the first row that does not agree."""


def cover(balance: Balance, amount_ucr: int) -> None:
    """Raise InsufficientFunds, with the figures, unless ``balance`` covers ``amount_ucr``, which is not negative."""
    if amount_ucr < 0:
        raise InvalidRequest("A hold cannot be negative.", hint="quote the job again", field="amount_ucr")
    spendable = balance.available_ucr + balance.overdraft_ucr
    if amount_ucr > spendable:
        raise InsufficientFunds(
            f"The job may cost {format_credits(amount_ucr)}; the account {balance.account} has "
            f"{format_credits(spendable)} available, {format_credits(amount_ucr - spendable)} too little.",
            hint="ask for less time or fewer nodes, or have credits added by an administrator",
        )


def positive(amount_ucr: int) -> int:
    """The amount. Raises InvalidRequest unless it is above zero and not absurd."""
    if not 0 < amount_ucr <= MAX_UCR:
        raise InvalidRequest(
            "The amount must be above zero.", hint=f"at most {format_credits(MAX_UCR)}", field="amount_ucr"
        )
    return amount_ucr


def movement(source: str, target: str, amount_ucr: int, kind: EntryKind) -> tuple[Posting, ...]:
    """The two sides of ``amount_ucr`` going from one account to the other; none when it is zero."""
    if amount_ucr == 0:
        return ()
    return Posting(source, -amount_ucr, kind), Posting(target, amount_ucr, kind)


def check_chain(entries: Iterable[tuple[Entry, str]]) -> Audit:
    """Follow ``(entry, stored hash)`` from the first. Raises LedgerBroken at the first row that does not fit."""
    head, count = FIRST_HASH, 0
    for entry, stored in entries:
        if entry.prev_hash != head:
            raise LedgerBroken(f"Entry {entry.seq} does not follow the one before it.", hint="compare with a backup")
        if entry.hash != stored:
            raise LedgerBroken(f"Entry {entry.seq} was changed after it was written.", hint="compare with a backup")
        head, count = stored, count + 1
    return Audit(count, head)
