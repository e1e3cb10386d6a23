"""SqlLedger and SqlReceipts: money in SQL.

Invariant: every method works inside the caller's serialisable transaction, so a balance that it read is still the
balance when it writes; the stored balances are the sums of the entries.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, select, update

from gateway.accounting.ledger import (
    FIRST_HASH,
    HOLDS,
    ISSUED,
    REVENUE,
    SYSTEM_ACCOUNTS,
    AccountKind,
    Audit,
    Balance,
    Entry,
    EntryKind,
    Hold,
    Posting,
    Settlement,
    check_chain,
    cover,
    movement,
    positive,
)
from gateway.accounting.settle import Receipt
from gateway.errors import Conflict, LedgerBroken, NotFound
from gateway.storage.database import insert_new
from gateway.storage.tables import accounts, balances, holds, ledger_entries, receipts

_ENTRY_FIELDS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True)
class _Cause:
    """What all entries of one transaction share."""

    memo: str
    job: str | None
    authorisation: str | None
    at: datetime


class SqlLedger:
    """Implements ``gateway.accounting.ledger.Ledger`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open_account(self, name: str, kind: AccountKind, overdraft_ucr: int = 0) -> None:
        """See ``Ledger.open_account``."""
        if insert_new(self._connection, accounts, {"name": name, "kind": kind.value, "overdraft_ucr": overdraft_ucr}):
            self._connection.execute(balances.insert().values(account=name, amount_ucr=0))
            return
        kept = self._connection.execute(select(accounts.c.kind).where(accounts.c.name == name)).scalar_one()
        if kept != kind:
            raise Conflict(f"The account {name} is a {kept} account.", hint="choose another name")

    def balance(self, account: str) -> Balance:
        """See ``Ledger.balance``."""
        found = list(self._balances(account))
        if not found:
            raise NotFound(f"There is no account {account}.", hint="burst balance shows yours")
        return found[0]

    def balances(self) -> tuple[Balance, ...]:
        """See ``Ledger.balances``."""
        return tuple(balance for balance in self._balances() if balance.account not in SYSTEM_ACCOUNTS)

    def deposit(
        self, account: str, amount_ucr: int, memo: str, now: datetime, authorisation: str | None = None
    ) -> Balance:
        """See ``Ledger.deposit``."""
        self.balance(account)
        postings = movement(ISSUED, account, positive(amount_ucr), EntryKind.DEPOSIT)
        self._post(postings, _Cause(memo, None, authorisation, now))
        return self.balance(account)

    def hold(self, job: str, account: str, amount_ucr: int, authorisation: str, now: datetime) -> Hold:
        """See ``Ledger.hold``."""
        cover(self.balance(account), amount_ucr)
        row = {
            "job": job,
            "account": account,
            "amount_ucr": amount_ucr,
            "state": "open",
            "authorisation": authorisation,
            "at": now,
        }
        if not insert_new(self._connection, holds, row):
            raise Conflict("Money is held for this job already.", hint="a job is funded once; submit a new one")
        self._post(
            movement(account, HOLDS, amount_ucr, EntryKind.HOLD), _Cause("held for the job", job, authorisation, now)
        )
        return Hold(job, account, amount_ucr)

    def held(self, job: str) -> Hold:
        """See ``Ledger.held``."""
        row = self._hold(job)
        return Hold(row["job"], row["account"], row["amount_ucr"], row["charged_ucr"])

    def settle(self, job: str, charge_ucr: int, memo: str, now: datetime) -> Settlement:
        """See ``Ledger.settle``."""
        hold = self._hold(job)
        settlement = Settlement(charge_ucr, hold["amount_ucr"] - charge_ucr)
        if hold["state"] == "settled":
            if hold["charged_ucr"] != charge_ucr:
                raise Conflict("The job was settled for another amount.", hint="its receipt stands")
            return settlement
        if not 0 <= charge_ucr <= hold["amount_ucr"]:
            raise Conflict("A job cannot be charged more than its hold.", hint="bill it again: bills are capped")
        settled = {"state": "settled", "charged_ucr": charge_ucr, "settled_at": now}
        self._connection.execute(update(holds).where(holds.c.job == job).values(**settled))
        charge = movement(HOLDS, REVENUE, settlement.charged_ucr, EntryKind.CHARGE)
        refund = movement(HOLDS, hold["account"], settlement.refunded_ucr, EntryKind.REFUND)
        self._post((*charge, *refund), _Cause(memo, job, hold["authorisation"], now))
        return settlement

    def entries(self, account: str) -> tuple[Entry, ...]:
        """See ``Ledger.entries``."""
        query = select(ledger_entries).where(ledger_entries.c.account == account).order_by(ledger_entries.c.seq)
        return tuple(_entry(row) for row in self._connection.execute(query).mappings())

    def verify_chain(self) -> Audit:
        """See ``Ledger.verify_chain``."""
        audit = check_chain(self._chain())
        self._check_sums()
        return audit

    def _balances(self, account: str | None = None) -> Iterator[Balance]:
        held = select(func.coalesce(func.sum(holds.c.amount_ucr), 0)).where(
            holds.c.account == accounts.c.name, holds.c.state == "open"
        )
        query = select(
            accounts.c.name, balances.c.amount_ucr, held.scalar_subquery().label("held"), accounts.c.overdraft_ucr
        ).join(balances, balances.c.account == accounts.c.name)
        if account is not None:
            query = query.where(accounts.c.name == account)
        for row in self._connection.execute(query.order_by(accounts.c.name)).mappings():
            yield Balance(row["name"], row["amount_ucr"], int(row["held"]), row["overdraft_ucr"])

    def _hold(self, job: str) -> RowMapping:
        row = self._connection.execute(select(holds).where(holds.c.job == job)).mappings().one_or_none()
        if row is None:
            raise NotFound("Nothing is held for this job.", hint="it was refused before it was funded")
        return row

    def _post(self, postings: Iterable[Posting], cause: _Cause) -> None:
        """Append one transaction to the chain and carry its amounts into the balances."""
        txn = uuid.uuid4().hex
        query = select(ledger_entries.c.seq, ledger_entries.c.hash).order_by(ledger_entries.c.seq.desc()).limit(1)
        last = self._connection.execute(query).one_or_none()
        seq, head = (last.seq, last.hash) if last else (0, FIRST_HASH)
        for posting in postings:
            seq += 1
            entry = Entry(seq, txn, **asdict(posting), **asdict(cause), prev_hash=head)
            head = entry.hash
            row = asdict(entry) | {"kind": entry.kind.value, "hash": head}
            self._connection.execute(ledger_entries.insert(), row)
            self._add(posting)

    def _add(self, posting: Posting) -> None:
        self._connection.execute(
            update(balances)
            .where(balances.c.account == posting.account)
            .values(amount_ucr=balances.c.amount_ucr + posting.amount_ucr)
        )

    def _chain(self) -> Iterator[tuple[Entry, str]]:
        rows = self._connection.execute(select(ledger_entries).order_by(ledger_entries.c.seq)).mappings()
        for row in rows:
            yield _entry(row), row["hash"]

    def _check_sums(self) -> None:
        """The chain cannot tell that its last rows were cut off, nor that a balance was edited; the sums can."""
        summed = func.coalesce(func.sum(ledger_entries.c.amount_ucr), 0)
        query = (
            select(balances.c.account, balances.c.amount_ucr, summed.label("summed"))
            .join(ledger_entries, ledger_entries.c.account == balances.c.account, isouter=True)
            .group_by(balances.c.account, balances.c.amount_ucr)
        )
        rows = self._connection.execute(query).all()
        for row in rows:
            if row.amount_ucr != int(row.summed):
                raise LedgerBroken(f"The balance of {row.account} is not the sum of its entries.", hint="use a backup")
        if sum(row.amount_ucr for row in rows) != 0:
            raise LedgerBroken("The balances do not sum to zero.", hint="compare with a backup")
        held = select(func.coalesce(func.sum(holds.c.amount_ucr), 0)).where(holds.c.state == "open")
        if int(self._connection.execute(held).scalar_one()) != {row.account: row.amount_ucr for row in rows}.get(
            HOLDS, 0
        ):
            raise LedgerBroken("The open holds are not what the ledger holds.", hint="compare with a backup")


class SqlReceipts:
    """Implements ``gateway.accounting.settle.Receipts`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next_number(self) -> str:
        """See ``Receipts.next_number``."""
        count = self._connection.execute(select(func.count()).select_from(receipts)).scalar_one()
        return f"R-{count + 1:06d}"

    def keep(self, receipt: Receipt) -> None:
        """See ``Receipts.keep``."""
        row = {
            "number": receipt.number,
            "job": receipt.job,
            "document": receipt.document(),
            "signature": receipt.signature,
            "at": receipt.settled_at,
        }
        if not insert_new(self._connection, receipts, row):
            raise Conflict("The job has a receipt already.", hint="burst receipt shows it")

    def of(self, job: str) -> Receipt:
        """See ``Receipts.of``."""
        row = self._connection.execute(select(receipts).where(receipts.c.job == job)).mappings().one_or_none()
        if row is None:
            raise NotFound("The job has no receipt yet.", hint="it gets one when it is finished; see burst job")
        return Receipt.read(row["document"], row["signature"])


def _entry(row: RowMapping) -> Entry:
    facts = {name: row[name] for name in _ENTRY_FIELDS}
    return Entry(**(facts | {"kind": EntryKind(row["kind"])}))
