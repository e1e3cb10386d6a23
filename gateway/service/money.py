"""MoneyService: balances, and credits given by an admin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.accounting.ledger import Balance
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, Allowed, authorise, demand
from gateway.route import Works


@dataclass(frozen=True)
class MoneyService:
    """Accounts as their users see them."""

    works: Works
    reads: Works
    now: Callable[[], datetime]

    def balances(self, caller: Caller) -> list[wire.Balance]:
        """Of every account that the caller may see."""
        with self.reads() as work:
            balances = work.ledger.balances()
        seen = (b for b in balances if authorise(caller.user, Action.SEE_ACCOUNT, account=b.account) == Allowed())
        return [_view(balance) for balance in seen]

    def credit(self, caller: Caller, account: str, request: wire.CreditRequest) -> wire.Balance:
        """Give credits. Raises Refused, NotFound."""
        demand(authorise(caller.user, Action.GIVE_CREDIT))
        with self.works() as work:
            work.evidence.keep(caller.evidence)
            amount, memo, proof = request.amount_ucr, request.memo, caller.evidence.digest
            return _view(work.ledger.deposit(account, amount, memo, self.now(), proof))


def _view(balance: Balance) -> wire.Balance:
    return wire.Balance(
        account=balance.account, available_ucr=balance.available_ucr, held_ucr=balance.held_ucr
    )
