"""Meter: how many units a task delivered, read from its outputs line by line.

Invariant: the reading is a whole number, never below zero and never above the order; only a whole unit counts, so a
part of one is not charged. The same bytes always give the same reading, however they are cut into pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from gateway.accounting.catalogue import MeterKind
from gateway.accounting.settle import Bill
from gateway.accounting.tariff import Line
from gateway.accounting.units import format_credits
from gateway.jobs.job import NO_TASK, UnitOrder

LINE_BYTES: Final = 4096
"""Only so much of a line is looked at."""


@dataclass(frozen=True)
class Delivery:
    """What one task delivered: ``units`` as metered, before the order caps them; ``note`` if there was trouble."""

    task: int
    units: int
    note: str = ""


def read(order: UnitOrder, files: Iterable[Iterable[bytes]], *, exit_code: int | None) -> int:
    """Units that a task delivered: ``files`` are the pieces of each file that its order's meter reads."""
    if order.meter == MeterKind.EXIT_0:
        return int(exit_code == 0)
    pattern = re.compile(order.pattern)
    of_file = _last if order.meter == MeterKind.LAST else _count
    return sum(of_file(pattern, lines(pieces)) for pieces in files)


def bill_units(order: UnitOrder, deliveries: Iterable[Delivery]) -> Bill:
    """A line for each task: its whole units, at most those ordered, at the order's own price."""
    return Bill(tuple(_line(order, delivery) for delivery in deliveries))


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a file that comes in pieces, without their ends, each cut after LINE_BYTES bytes.

    A carriage return ends a line too: programs overwrite their progress.
    """
    rest = b""
    for piece in pieces:
        *whole, rest = re.split(rb"[\r\n]", rest + piece)
        rest = rest[:LINE_BYTES]
        yield from map(_text, whole)
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line[:LINE_BYTES].decode(errors="replace")


def _count(pattern: re.Pattern[str], found: Iterable[str]) -> int:
    return sum(1 for line in found if pattern.search(line))


def _last(pattern: re.Pattern[str], found: Iterable[str]) -> int:
    value = 0
    for line in found:
        if match := pattern.search(line):
            value = _whole(match[1], value)
    return value


def _whole(text: str | None, before: int) -> int:
    """Whole units of a number, not below zero; what is no number leaves the value as it was."""
    try:
        number = Decimal((text or "").strip())
        # A number of a thousand digits is no progress.
        return max(0, int(number)) if number.is_finite() and number.adjusted() < 16 else before  # noqa: PLR2004
    except InvalidOperation:
        return before


def _line(order: UnitOrder, delivery: Delivery) -> Line:
    charged = min(max(0, delivery.units), order.quantity)
    task = "" if delivery.task == NO_TASK else f"task {delivery.task}, "
    text = f"{task}{delivery.units} of {order.quantity} {order.title}, {format_credits(order.price_ucr)} each"
    if delivery.units > order.quantity:
        text += "; what is above the order is not charged"
    text += f"; {delivery.note}" if delivery.note else ""
    return Line(text, charged, order.code, charged * order.price_ucr)
