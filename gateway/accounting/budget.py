"""Budget: the most that an account may spend from a day on, and what happens at its limit.

A plain budget refuses a job whose maximum does not fit beside what was charged and is held. A budget that stops lets
jobs begin while anything is left, and ends the running ones when what was spent, the running jobs' share included,
reaches the limit.

Invariant: a plain budget is never exceeded, because no charge exceeds its hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.accounting.units import format_credits
from gateway.errors import BudgetExceeded


@dataclass(frozen=True)
class Budget:
    """An account's budget; jobs whose hold was made at ``since`` or later count."""

    account: str
    limit_ucr: int
    stops: bool
    since: datetime
    set_by: str
    by_admin: bool
    """An administrator's budget is not for the account's users to change."""
    authorisation: str


@dataclass(frozen=True)
class Spending:
    """What counts against a budget: charges of settled jobs, and holds of the others."""

    charged_ucr: int
    held_ucr: int


class Budgets(Protocol):
    """The stored budgets, inside one transaction of the database."""

    def put(self, budget: Budget) -> None:
        """Set an account's budget, in place of the one before."""

    def remove(self, account: str) -> None:
        """Remove an account's budget. Raises NotFound."""

    def of(self, account: str) -> Budget | None:
        """An account's budget."""

    def all(self) -> tuple[Budget, ...]:
        """Every budget, by account."""

    def spending(self, budget: Budget) -> Spending:
        """What counts against it."""

    def unsettled(self, budget: Budget) -> tuple[str, ...]:
        """The jobs that it counts and that are not settled, oldest first."""


def admit(budget: Budget | None, spending: Spending, hold_ucr: int) -> None:
    """Raise BudgetExceeded unless a job of this maximum may begin."""
    if budget is None:
        return
    committed = spending.charged_ucr + (0 if budget.stops else spending.held_ucr + hold_ucr)
    fits = committed < budget.limit_ucr if budget.stops else committed <= budget.limit_ucr
    if fits:
        return
    spent, held = format_credits(spending.charged_ucr), format_credits(spending.held_ucr)
    raise BudgetExceeded(
        f"The budget of account {budget.account} is {format_credits(budget.limit_ucr)}: {spent} spent, {held} held; "
        f"this job may cost {format_credits(hold_ucr)}.",
        hint=f"ask for less, or have the budget raised: burst budget set {budget.account} --limit CREDITS",
    )


def stop_sentence(budget: Budget, spent_ucr: int) -> str:
    """Why a running job was ended."""
    limit = format_credits(budget.limit_ucr)
    return f"the budget of account {budget.account}, {limit}, is used up: {format_credits(spent_ucr)} spent"
