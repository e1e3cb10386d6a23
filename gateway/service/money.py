"""MoneyService: balances, and credits given by an admin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.accounting.ledger import Balance, Entry
from gateway.accounting.spending import Charge
from gateway.identity.authenticate import Caller, Reader
from gateway.identity.authorise import Action, Allowed, authorise, demand
from gateway.identity.idempotency import Answer
from gateway.route import Works


@dataclass(frozen=True)
class MoneyService:
    """Accounts as their users see them."""

    works: Works
    reads: Works
    now: Callable[[], datetime]

    def balances(self, caller: Reader) -> list[wire.Balance]:
        """Of every account that the caller may see."""
        with self.reads() as work:
            balances = work.ledger.balances()
        seen = (b for b in balances if authorise(caller.user, Action.SEE_ACCOUNT, account=b.account) == Allowed())
        return [_view(balance) for balance in seen]

    def statement(self, caller: Reader, account: str, limit: int = 500) -> tuple[tuple[Charge, ...], tuple[Entry, ...]]:
        """The latest charges of an account and all its entries, oldest first. Raises Refused."""
        demand(authorise(caller.user, Action.SEE_ACCOUNT, account=account))
        with self.reads() as work:
            return work.spending.of(account, limit), work.ledger.entries(account)

    def credit(self, caller: Caller, account: str, request: wire.CreditRequest, key: str | None = None) -> wire.Balance:
        """Give credits; the same key again gives none and answers the same. Raises Refused, NotFound, Conflict."""
        demand(authorise(caller.user, Action.GIVE_CREDIT))
        # The account is in the path, so the path is part of what may not be another under the same key.
        user, body, now = caller.user.name, caller.evidence.path.encode() + caller.evidence.body, self.now()
        with self.works() as work:
            if key is not None and (known := work.idempotency.answered(user, key, body)) is not None:
                return wire.Balance.model_validate(known.response)
            work.evidence.keep(caller.evidence)
            proof = caller.evidence.digest
            after = _view(work.ledger.deposit(account, request.amount_ucr, request.memo, now, proof))
            if key is not None:
                work.idempotency.keep(user, key, body, Answer(200, after.model_dump()), now)
        return after


def _view(balance: Balance) -> wire.Balance:
    return wire.Balance(account=balance.account, available_ucr=balance.available_ucr, held_ucr=balance.held_ucr)
