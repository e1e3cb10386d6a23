"""Money: balances, and what was spent when, as a table and drawn from that table.

Invariant: each figure is the ledger's; the picture shows no more than the table says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Request, Response

from gateway.accounting.ledger import Entry, EntryKind
from gateway.accounting.spending import Charge
from gateway.web.pages import page
from gateway.web.visits import TheGateway, TheVisit

router = APIRouter()

MOST_ROWS = 500


@dataclass(frozen=True)
class Line:
    """One event of an account: a settled job or a deposit, and how the account stood after it."""

    at: datetime
    text: str
    job: int | None
    amount_ucr: int
    """Below zero for what was spent."""
    spent_ucr: int
    """By the jobs of the table, up to this one."""
    available_ucr: int


@router.get("/money")
def money(gateway: TheGateway, visit: TheVisit, request: Request, account: str = "") -> Response:
    """The accounts that one may see, and the history of one of them."""
    balances = gateway.money.balances(visit.reader)
    chosen = account or visit.reader.user.account
    charges, entries = gateway.money.statement(visit.reader, chosen, MOST_ROWS)
    lines = history(charges, entries)
    return page(request, "money.html", visit, balances=balances, account=chosen, lines=lines)


def history(charges: Sequence[Charge], entries: Sequence[Entry]) -> list[Line]:
    """Deposits and charges, oldest first."""
    events = [_deposit(entry) for entry in entries if entry.kind is EntryKind.DEPOSIT]
    events += [_charge(charge) for charge in charges]
    lines, spent, read, available = [], 0, 0, 0
    for event in sorted(events, key=lambda line: line.at)[-MOST_ROWS:]:
        while read < len(entries) and entries[read].at <= event.at:
            available += entries[read].amount_ucr
            read += 1
        spent -= min(event.amount_ucr, 0)
        lines.append(Line(event.at, event.text, event.job, event.amount_ucr, spent, available))
    return lines


def _deposit(entry: Entry) -> Line:
    return Line(entry.at, entry.memo, None, entry.amount_ucr, 0, 0)


def _charge(charge: Charge) -> Line:
    return Line(charge.at, charge.name, charge.scheduler_id, -charge.charged_ucr, 0, 0)
