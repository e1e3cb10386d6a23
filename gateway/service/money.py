"""MoneyService: balances, credits given by an admin, budgets, reports and what is sold in units.

Invariant: money of an account that the caller may not spend from is neither shown nor counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.accounting.budget import Budget
from gateway.accounting.catalogue import Catalogue
from gateway.accounting.ledger import Balance, Entry
from gateway.accounting.report import Dimension, Group, report
from gateway.accounting.spending import Charge
from gateway.errors import InvalidRequest, Refused
from gateway.identity.authenticate import Caller, Reader
from gateway.identity.authorise import Action, Allowed, authorise, demand, within
from gateway.identity.idempotency import Answer
from gateway.service.acts import act_of
from gateway.work import Work, Works


@dataclass(frozen=True)
class MoneyService:
    """Accounts as their users see them."""

    works: Works
    reads: Works
    catalogue: Catalogue
    now: Callable[[], datetime]

    def units(self, caller: Reader) -> list[wire.UnitView]:
        """The simulation units that can be ordered, by code. Raises Refused."""
        demand(authorise(caller, Action.LIST_ACCOUNTS))
        return [wire.UnitView(**vars(unit)) for _, unit in sorted(self.catalogue.units.items())]

    def balances(self, caller: Reader) -> list[wire.Balance]:
        """Of every account that the caller may see."""
        demand(authorise(caller, Action.LIST_ACCOUNTS))
        with self.reads() as work:
            balances = work.ledger.balances()
        return [_view(balance) for balance in balances if _sees(caller, balance.account)]

    def statement(self, caller: Reader, account: str, limit: int = 500) -> tuple[tuple[Charge, ...], tuple[Entry, ...]]:
        """The latest charges of an account and all its entries, oldest first. Raises Refused."""
        demand(authorise(caller, Action.SEE_ACCOUNT, account=account))
        with self.reads() as work:
            return work.spending.of(account, limit), work.ledger.entries(account)

    def credit(self, caller: Caller, account: str, request: wire.CreditRequest, key: str | None = None) -> wire.Balance:
        """Give credits; the same key again gives none and answers the same. Raises Refused, NotFound, Conflict."""
        demand(within(caller, Action.GIVE_CREDIT))
        demand(authorise(caller, Action.GIVE_CREDIT))
        # The account is in the path, so the path is part of what may not be another under the same key.
        user, body, now = caller.user.name, caller.evidence.path.encode() + caller.evidence.body, self.now()
        with self.works() as work:
            if key is not None and (known := work.idempotency.answered(user, key, body)) is not None:
                return wire.Balance.model_validate(known.response)
            work.evidence.keep(caller.evidence)
            proof = caller.evidence.digest
            after = _view(work.ledger.deposit(account, request.amount_ucr, request.memo, now, proof))
            act = act_of(caller, "credit", f"account:{account}", request.memo, amount_ucr=request.amount_ucr)
            work.audit.tell(act, now)
            if key is not None:
                work.idempotency.keep(user, key, body, Answer(200, after.model_dump()), now)
        return after

    def budgets(self, caller: Caller) -> list[wire.BudgetView]:
        """Of every account that the caller may see."""
        demand(authorise(caller, Action.LIST_ACCOUNTS))
        with self.reads() as work:
            return [_budget_view(work, budget) for budget in work.budgets.all() if _sees(caller, budget.account)]

    def set_budget(self, caller: Caller, account: str, request: wire.BudgetRequest) -> wire.BudgetView:
        """Set an account's budget. Raises Refused, also for one that an administrator set; NotFound."""
        demand(within(caller, Action.SET_BUDGET))
        if request.since is not None and request.since.tzinfo is None:
            raise InvalidRequest("since has no time zone.", hint="2026-03-01T00:00:00Z", field="since")
        with self.works() as work:
            before = _changeable(work, caller, account)
            work.ledger.balance(account)
            work.evidence.keep(caller.evidence)
            budget = Budget(
                account=account,
                limit_ucr=request.limit_ucr,
                stops=request.stops,
                since=request.since or (before.since if before else self.now()),
                set_by=caller.user.name,
                by_admin=authorise(caller, Action.CHANGE_SET_BUDGET) == Allowed(),
                authorisation=caller.evidence.digest,
            )
            work.budgets.put(budget)
            text = "jobs end at the limit" if request.stops else "jobs beyond the limit are refused"
            act = act_of(caller, "set-budget", f"account:{account}", text, amount_ucr=request.limit_ucr)
            work.audit.tell(act, self.now())
            return _budget_view(work, budget)

    def remove_budget(self, caller: Caller, account: str) -> None:
        """Remove an account's budget. Raises Refused, NotFound."""
        with self.works() as work:
            _changeable(work, caller, account)
            work.evidence.keep(caller.evidence)
            work.budgets.remove(account)
            work.audit.tell(act_of(caller, "remove-budget", f"account:{account}", "no limit any more"), self.now())

    def report(
        self, caller: Caller, by: Sequence[Dimension], since: datetime | None, until: datetime | None
    ) -> wire.Report:
        """Spending of the accounts that the caller may see; an admin's report is the whole ledger's."""
        demand(authorise(caller, Action.LIST_ACCOUNTS))
        if any(moment is not None and moment.tzinfo is None for moment in (since, until)):
            raise InvalidRequest("A time has no time zone.", hint="2026-03-01T00:00:00Z")
        with self.reads() as work:
            charges = [charge for charge in work.charges.between(since, until) if _sees(caller, charge.account)]
        (total,) = report(charges, ()) or (Group(()),)
        return wire.Report(
            by=tuple(by),
            rows=tuple(_row(group) for group in report(charges, by)) if by else (_row(total),),
            jobs=total.jobs,
            spend_ucr=total.spend_ucr,
        )


def _sees(caller: Reader, account: str) -> bool:
    return authorise(caller, Action.SEE_ACCOUNT, account=account) == Allowed()


def _changeable(work: Work, caller: Caller, account: str) -> Budget | None:
    """The account's budget, if it has one, which the caller may change or replace."""
    demand(authorise(caller, Action.SET_BUDGET, account=account))
    before = work.budgets.of(account)
    if before is not None and before.by_admin and authorise(caller, Action.CHANGE_SET_BUDGET) != Allowed():
        raise Refused(f"The budget of {account} was set by an administrator.", hint="ask an administrator to change it")
    return before


def _budget_view(work: Work, budget: Budget) -> wire.BudgetView:
    return wire.BudgetView.model_validate(vars(budget) | vars(work.budgets.spending(budget)))


def _row(group: Group) -> wire.ReportRow:
    return wire.ReportRow(keys=group.keys, jobs=group.jobs, spend_ucr=group.spend_ucr, units=dict(group.units))


def _view(balance: Balance) -> wire.Balance:
    return wire.Balance(account=balance.account, available_ucr=balance.available_ucr, held_ucr=balance.held_ucr)
