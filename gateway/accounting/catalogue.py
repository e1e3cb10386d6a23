"""Catalogue: simulation units, what a site sells in place of node time, and the order for some of them.

Invariant: an order holds the price and the meter of the moment of its quote, so that neither changes under a job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from gateway.accounting.tariff import Line
from gateway.accounting.units import format_credits
from gateway.errors import InvalidRequest, ScriptError
from gateway.jobs.job import Resources, UnitOrder

STDOUT: Final = "stdout"
"""``file`` of a unit that is metered from what its job prints."""

_NOWHERE = frozenset({"/dev/null", "none"})


class MeterKind(StrEnum):
    """How the units that a task delivered are read from its outputs."""

    COUNT = "count"
    """A unit for each line that matches."""
    LAST = "last"
    """The number in the last line that matches, as the program's own progress says."""
    EXIT_0 = "exit-0"
    """A unit for a task that ended with exit code 0."""


@dataclass(frozen=True)
class SimulationUnit:
    """One unit: ``price_ucr`` each; ``most_node_seconds`` of each bound what a job may ask of the machines."""

    code: str
    title: str
    price_ucr: int
    meter: MeterKind
    file: str = STDOUT
    pattern: str = ""
    most_node_seconds: int | None = None

    def __post_init__(self) -> None:
        """Refuse a unit that cannot be metered."""
        if self.price_ucr <= 0:
            raise InvalidRequest(f"The unit {self.code} has no price.", hint="set its credits_per_unit")
        if (fault := _fault(self.meter, self.pattern)) is not None:
            raise InvalidRequest(f"The unit {self.code} cannot be metered: {fault}.", hint="see docs/money.md")


@dataclass(frozen=True)
class Catalogue:
    """What can be ordered, by code."""

    units: Mapping[str, SimulationUnit]

    def fill(self, asked: UnitOrder, resources: Resources, nodes: int, options: Mapping[str, str]) -> UnitOrder:
        """The order at today's price. Raises ScriptError for an unknown unit, or a job that it is not sold for."""
        unit = self.units.get(asked.code)
        if unit is None:
            raise _refused(asked, f"there is no simulation unit {asked.code}", self._known())
        if unit.meter is MeterKind.EXIT_0 and asked.quantity != 1:
            raise _refused(asked, f"a task delivers one {unit.code} at most", f"write --units={unit.code}:1")
        if unit.meter is not MeterKind.EXIT_0 and unit.file == STDOUT and options.get("output") in _NOWHERE:
            raise _refused(asked, f"{unit.code} is metered from what the job prints", "give --output a file")
        _bound(asked, unit, nodes * resources.time_limit_s)
        return replace(
            asked,
            title=unit.title,
            price_ucr=unit.price_ucr,
            meter=unit.meter.value,
            file=unit.file,
            pattern=unit.pattern,
        )

    def _known(self) -> str:
        return f"there are {', '.join(sorted(self.units))}" if self.units else "this gateway sells node time only"


def order_line(order: UnitOrder, tasks: int) -> Line:
    """The most that an order can cost, for ``tasks`` tasks."""
    text = f"{order.quantity} {order.title} at most, {format_credits(order.price_ucr)} each"
    text = f"{tasks} tasks, each {text}" if tasks > 1 else text
    quantity = order.quantity * tasks
    return Line(text, quantity, order.code, quantity * order.price_ucr)


def _fault(meter: MeterKind, pattern: str) -> str | None:
    if meter is MeterKind.EXIT_0:
        return "exit-0 reads no file, so it has no pattern" if pattern else None
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        return f"its pattern is no regular expression ({error})"
    if not pattern:
        return "it has no pattern"
    if meter is MeterKind.LAST and groups != 1:
        return "a pattern for the last value has exactly one group"
    return None


def _bound(asked: UnitOrder, unit: SimulationUnit, node_seconds: int) -> None:
    if unit.most_node_seconds is None or node_seconds <= (most := asked.quantity * unit.most_node_seconds):
        return
    raise _refused(
        asked,
        f"{asked.quantity} {unit.code} may take {most} node-seconds a task; --time allows {node_seconds}",
        "shorten --time, ask for fewer nodes, or order more units",
    )


def _refused(asked: UnitOrder, message: str, hint: str) -> ScriptError:
    return ScriptError(f"#BURST --units: {message}", line=asked.line, hint=hint)
