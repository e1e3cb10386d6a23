"""Quote: the most that a job can cost, before anything runs.

Invariant: a bill of the same job never exceeds its quote unless Slurm ran it more than once, and then the hold caps it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.accounting.catalogue import order_line
from gateway.accounting.tariff import Line, Tariff, data_line
from gateway.jobs.job import Resources, UnitOrder
from gateway.jobs.terms import Rates


@dataclass(frozen=True)
class Data:
    """What each node of a task fetches, what the task leaves, and what a GB of them costs."""

    rates: Rates
    in_bytes: int = 0
    out_bytes: int = 0


@dataclass(frozen=True)
class Quote:
    """What would be held for a job on ``offer``."""

    offer: str
    lines: tuple[Line, ...]

    @property
    def total_ucr(self) -> int:
        """The sum of its lines."""
        return sum(line.amount_ucr for line in self.lines)


def quote(resources: Resources, offer: str, nodes: int, tariff: Tariff, data: Data | None = None) -> Quote:
    """Price ``nodes`` nodes for the whole time limit, for every task of the array. Raises PriceUnknown.

    Each task is rounded up by itself, as its bill will be. Data that costs something is a line of its own.
    """
    tasks, limit = resources.array_tasks, resources.time_limit_s
    text = f"{_count(nodes, 'node')} of {offer} for {_duration(limit)} at most"
    if tasks > 1:
        text = f"{tasks} tasks, each {text}"
    line = tariff.line(offer, text, nodes * limit)
    lines = [Line(line.text, line.quantity * tasks, line.unit, line.amount_ucr * tasks)]
    if data is not None and (moved := data_line(data.rates, data.in_bytes * nodes, data.out_bytes, tasks)) is not None:
        lines.append(moved)
    return Quote(offer, tuple(lines))


def quote_units(resources: Resources, offer: str, order: UnitOrder) -> Quote:
    """Price an order of simulation units, whatever machine it runs on: every task may deliver all of them."""
    return Quote(offer, (order_line(order, resources.array_tasks),))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: int) -> str:
    """[D-]HH:MM:SS, as Slurm writes it."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{f'{days}-' if days else ''}{hour:02d}:{minute:02d}:{second:02d}"
