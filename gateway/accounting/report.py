"""Report: what was spent, by account, user, month or unit.

Invariant: the groups sum to the total, and the total is what the ledger booked as revenue for the same jobs, to the
micro-credit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from gateway.accounting.tariff import Line


class Dimension(StrEnum):
    """What a report can be grouped by."""

    MONTH = "month"
    ACCOUNT = "account"
    USER = "user"


@dataclass(frozen=True)
class Charge:
    """One settled job: what the ledger booked for it, and its receipt's lines."""

    job: str
    account: str
    user: str
    settled_at: datetime
    spend_ucr: int
    lines: tuple[Line, ...]

    def key(self, by: Dimension) -> str:
        """Its group in one dimension; months are UTC's."""
        match by:
            case Dimension.MONTH:
                return self.settled_at.astimezone(UTC).strftime("%Y-%m")
            case Dimension.ACCOUNT:
                return self.account
            case Dimension.USER:
                return self.user


class Charges(Protocol):
    """The charges in the ledger, inside one transaction of the database."""

    def between(self, since: datetime | None, until: datetime | None) -> tuple[Charge, ...]:
        """Of jobs settled from ``since`` on and before ``until``, oldest first."""


@dataclass
class Group:
    """What jobs of one group used and paid."""

    keys: tuple[str, ...]
    jobs: int = 0
    spend_ucr: int = 0
    units: Counter[str] = field(default_factory=Counter)

    def add(self, charge: Charge) -> None:
        """Count one job."""
        self.jobs += 1
        self.spend_ucr += charge.spend_ucr
        # "hold" is the unit of a line that caps a bill, which nobody used.
        self.units.update({line.unit: line.quantity for line in _summed(charge.lines) if line.unit != "hold"})


def report(charges: Iterable[Charge], by: Sequence[Dimension]) -> tuple[Group, ...]:
    """The groups, in the order of their keys; without a dimension, one of everything."""
    groups: dict[tuple[str, ...], Group] = {}
    for charge in charges:
        keys = tuple(charge.key(dimension) for dimension in by)
        groups.setdefault(keys, Group(keys)).add(charge)
    return tuple(groups[keys] for keys in sorted(groups))


def _summed(lines: Iterable[Line]) -> list[Line]:
    totals: Counter[str] = Counter()
    for line in lines:
        totals[line.unit] += line.quantity
    return [Line("", quantity, unit, 0) for unit, quantity in totals.items()]
