"""Simulation units: what a meter reads, what is charged for it, and what a catalogue refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.catalogue import Catalogue, MeterKind, SimulationUnit
from gateway.accounting.meter import LINE_BYTES, Delivery, bill_units, lines, read
from gateway.accounting.quote import quote_units
from gateway.errors import InvalidRequest, ScriptError
from gateway.jobs.job import NO_TASK, Resources, UnitOrder

SWEEPS = SimulationUnit("mc.sweep@v1", "sweeps", 10, MeterKind.LAST, pattern=r"^sweeps (\S+)")
BOUND = replace(SWEEPS, code="mc.sweep@v2", most_node_seconds=2)
SHAPES = SimulationUnit("xtb.opt@v1", "geometries", 20_000, MeterKind.COUNT, pattern="CONVERGED")
RUNS = SimulationUnit("run@v1", "runs", 50_000, MeterKind.EXIT_0)
CATALOGUE = Catalogue({unit.code: unit for unit in (SWEEPS, BOUND, SHAPES, RUNS)})

progress = st.lists(
    st.one_of(
        st.integers(-5, 10**6).map(lambda n: f"sweeps {n}"),
        st.sampled_from(["sweeps NaN", "sweeps inf", "sweeps 1e999", "sweeps x", "CONVERGED", "", "no sweeps 9"]),
        st.text(max_size=20),
    ),
    max_size=30,
)


def order(unit: SimulationUnit = SWEEPS, quantity: int = 1000, **more) -> UnitOrder:
    """An order at the catalogue's price."""
    return CATALOGUE.fill(UnitOrder(unit.code, quantity, line=3), Resources(time_limit_s=60), 1, more)


def cut(text: bytes, places: list[int]) -> list[bytes]:
    """The text in pieces."""
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(ends)]


@given(progress, st.lists(st.integers(0, 10_000), max_size=8))
def test_a_reading_does_not_depend_on_how_the_file_is_cut(found, places):
    """A store sends a file in pieces of any length; lines of any length, too."""
    text = "\n".join([*found, "x" * (LINE_BYTES + 9), "sweeps 12"]).encode()

    for unit in (SWEEPS, SHAPES):
        whole = read(order(unit), [[text]], exit_code=0)
        assert read(order(unit), [cut(text, places)], exit_code=0) == whole
    assert list(lines(cut(text, places))) == list(lines([text]))


@given(progress)
def test_a_reading_is_a_whole_number_not_below_zero(found):
    """Whatever a program prints."""
    for unit in (SWEEPS, SHAPES):
        value = read(order(unit), [["\n".join(found).encode()]], exit_code=0)
        assert isinstance(value, int)
        assert value >= 0


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(1, 10**6))
def test_the_last_value_counts(values, quantity):
    """As the program's own progress says, and no more than was ordered is charged."""
    text = "".join(f"sweeps {value}\nother words\n" for value in values).encode()
    ordered = order(quantity=quantity)
    units = read(ordered, [[text]], exit_code=None)

    (line,) = bill_units(ordered, [Delivery(NO_TASK, units)]).lines

    assert units == values[-1]
    assert line.amount_ucr == min(values[-1], quantity) * SWEEPS.price_ucr


@given(st.lists(st.integers(-10, 10**7), max_size=6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_charge_is_what_was_delivered_and_never_above_the_quote(delivered, quantity, price):
    """For every task, at the price of the order."""
    ordered = replace(order(quantity=quantity), price_ucr=price)
    quoted = quote_units(Resources(array_tasks=max(1, len(delivered))), "small", ordered)

    billed = bill_units(ordered, [Delivery(task, units) for task, units in enumerate(delivered)])

    assert billed.charged_ucr == sum(min(max(0, units), quantity) for units in delivered) * price
    assert 0 <= billed.charged_ucr <= quoted.total_ucr
    assert [line.quantity * price for line in billed.lines] == [line.amount_ucr for line in billed.lines]


@given(st.integers(1, 50), st.sampled_from(["small", "large", "gpu"]), st.integers(1, 10**6))
def test_a_quote_does_not_depend_on_the_machine(tasks, offer, quantity):
    """Units times price, on whatever node."""
    assert quote_units(Resources(array_tasks=tasks), offer, order(quantity=quantity)).total_ucr == tasks * quantity * 10


@pytest.mark.parametrize(("text", "units"), [("sweeps 12.9", 12), ("sweeps 0.99", 0), ("sweeps -3", 0), ("sweeps", 0)])
def test_only_whole_units_count(text, units):
    """Rounded down: a part of a unit is not charged."""
    assert read(order(), [[text.encode()]], exit_code=0) == units


def test_a_value_that_is_no_number_leaves_the_one_before():
    """A garbled line does not undo what was delivered."""
    assert read(order(), [[b"sweeps 500\nsweeps nan\nsweeps 1e400\n"]], exit_code=0) == 500


def test_progress_that_overwrites_its_line_is_read():
    """A carriage return ends a line."""
    assert read(order(), [[b"sweeps 1\rsweeps 2\rsweeps 3"]], exit_code=0) == 3


def test_files_of_one_task_add_up():
    """Each with its own last value, or its own matches."""
    assert read(order(), [[b"sweeps 3\n"], [b"sweeps 4\n"]], exit_code=0) == 7
    assert read(order(SHAPES), [[b"CONVERGED\nno\nCONVERGED"], [b"CONVERGED"]], exit_code=0) == 3


@pytest.mark.parametrize(("code", "units"), [(0, 1), (1, 0), (None, 0)])
def test_a_run_is_delivered_when_it_ends_well(code, units):
    """Exit code 0, nothing else."""
    assert read(order(RUNS, 1), [], exit_code=code) == units


def test_what_is_above_the_order_is_shown_and_not_charged():
    """The line says both figures."""
    (line,) = bill_units(order(quantity=10), [Delivery(4, 12)]).lines

    assert (line.quantity, line.unit, line.amount_ucr) == (10, "mc.sweep@v1", 100)
    assert line.text == "task 4, 12 of 10 sweeps, 0.00001 credits each; what is above the order is not charged"


@pytest.mark.parametrize(
    ("asked", "resources", "options", "words"),
    [
        (UnitOrder("md.ns@v1", 1, 7), Resources(), {}, "there is no simulation unit md.ns@v1"),
        (UnitOrder("run@v1", 2, 7), Resources(), {}, "one run@v1 at most"),
        (UnitOrder("mc.sweep@v2", 10, 7), Resources(time_limit_s=21), {}, "may take 20 node-seconds"),
        (UnitOrder("mc.sweep@v1", 99, 7), Resources(time_limit_s=9), {"output": "/dev/null"}, "what the job prints"),
    ],
)
def test_an_order_that_cannot_be_sold_is_refused_with_its_line(asked, resources, options, words):
    """And with what to do instead."""
    with pytest.raises(ScriptError, match=words) as refused:
        CATALOGUE.fill(asked, resources, 1, options)

    assert (refused.value.line, bool(refused.value.hint)) == (7, True)


@pytest.mark.parametrize(
    "facts",
    [
        {"meter": MeterKind.LAST, "pattern": "no group"},
        {"meter": MeterKind.COUNT, "pattern": "("},
        {"meter": MeterKind.COUNT},
        {"meter": MeterKind.EXIT_0, "pattern": "x"},
        {"meter": MeterKind.COUNT, "pattern": "x", "price_ucr": 0},
    ],
)
def test_a_unit_that_cannot_be_metered_or_priced_is_no_unit(facts):
    """A catalogue's fault shows when the gateway starts, not when a job is charged."""
    with pytest.raises(InvalidRequest):
        SimulationUnit(**{"code": "x@v1", "title": "x", "price_ucr": 1, **facts})
