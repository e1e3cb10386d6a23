"""SqlBudgets and SqlCharges: budgets, and what counts against them, in SQL.

Invariant: spending is read from holds and ledger entries, never from a sum that is kept beside them.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, select

from gateway.accounting.budget import Budget, Spending
from gateway.accounting.ledger import REVENUE
from gateway.accounting.report import Charge
from gateway.accounting.settle import Receipt
from gateway.errors import NotFound
from gateway.storage.tables import budgets, holds, jobs, ledger_entries, receipts

_FIELDS = ("account", "limit_ucr", "stops", "since", "set_by", "by_admin", "authorisation")


class SqlBudgets:
    """Implements ``gateway.accounting.budget.Budgets`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, budget: Budget) -> None:
        """See ``Budgets.put``."""
        self._connection.execute(budgets.delete().where(budgets.c.account == budget.account))
        self._connection.execute(budgets.insert(), {name: getattr(budget, name) for name in _FIELDS})

    def remove(self, account: str) -> None:
        """See ``Budgets.remove``."""
        if self._connection.execute(budgets.delete().where(budgets.c.account == account)).rowcount != 1:
            raise NotFound(f"The account {account} has no budget.", hint="burst budget lists them")

    def of(self, account: str) -> Budget | None:
        """See ``Budgets.of``."""
        row = self._connection.execute(select(budgets).where(budgets.c.account == account)).mappings().one_or_none()
        return None if row is None else _budget(row)

    def all(self) -> tuple[Budget, ...]:
        """See ``Budgets.all``."""
        rows = self._connection.execute(select(budgets).order_by(budgets.c.account)).mappings()
        return tuple(map(_budget, rows))

    def spending(self, budget: Budget) -> Spending:
        """See ``Budgets.spending``."""
        query = (
            select(holds.c.state, func.sum(func.coalesce(holds.c.charged_ucr, holds.c.amount_ucr)))
            .where(holds.c.account == budget.account, holds.c.at >= budget.since)
            .group_by(holds.c.state)
        )
        sums = {state: int(amount) for state, amount in self._connection.execute(query)}
        return Spending(sums.get("settled", 0), sums.get("open", 0))

    def unsettled(self, budget: Budget) -> tuple[str, ...]:
        """See ``Budgets.unsettled``."""
        query = select(holds.c.job).where(
            holds.c.account == budget.account, holds.c.at >= budget.since, holds.c.state == "open"
        )
        return tuple(self._connection.execute(query.order_by(holds.c.at)).scalars())


class SqlCharges:
    """Implements ``gateway.accounting.report.Charges`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def between(self, since: datetime | None, until: datetime | None) -> tuple[Charge, ...]:
        """See ``Charges.between``: the receipt says when and for what, the ledger how much."""
        booked = (
            select(ledger_entries.c.job, func.sum(ledger_entries.c.amount_ucr).label("spend_ucr"))
            .where(ledger_entries.c.account == REVENUE)
            .group_by(ledger_entries.c.job)
            .subquery()
        )
        query = (
            select(
                receipts.c.document,
                receipts.c.signature,
                receipts.c.at,
                jobs.c.id,
                jobs.c.account,
                jobs.c.user_name,
                func.coalesce(booked.c.spend_ucr, 0).label("spend_ucr"),
            )
            .join(jobs, jobs.c.id == receipts.c.job)
            .join(booked, booked.c.job == receipts.c.job, isouter=True)
        )
        query = query.where(receipts.c.at >= since) if since else query
        query = query.where(receipts.c.at < until) if until else query
        rows = self._connection.execute(query.order_by(receipts.c.at, receipts.c.number)).mappings()
        return tuple(map(_charge, rows))


def _budget(row: RowMapping) -> Budget:
    return Budget(**{name: row[name] for name in _FIELDS})


def _charge(row: RowMapping) -> Charge:
    lines = Receipt.read(row["document"], row["signature"]).lines
    return Charge(row["id"], row["account"], row["user_name"], row["at"], int(row["spend_ucr"]), lines)
