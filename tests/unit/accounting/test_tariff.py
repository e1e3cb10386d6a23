"""Prices, quotes, limits and bills, exact to the micro-credit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.cheque import check
from gateway.accounting.quote import quote
from gateway.accounting.settle import bill
from gateway.accounting.tariff import Tariff
from gateway.accounting.units import MAX_UCR, format_credits, parse_credits
from gateway.errors import InvalidRequest, PriceUnknown, Refused
from gateway.jobs.job import NO_TASK, Attempt, BurstOptions, Job, JobRequest, Resources
from gateway.jobs.stages import Stage
from gateway.placement.offers import Offer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREDIT = 1_000_000
TARIFF = Tariff({"small": 1_200_000, "odd": 1})


@pytest.mark.parametrize(
    ("text", "amount"),
    [("2.5", 2_500_000), ("0", 0), ("0.000001", 1), ("1", CREDIT), ("0.1", 100_000), ("1000000000", MAX_UCR)],
)
def test_credits_are_read_exactly(text, amount):
    """Without a float on the way."""
    assert parse_credits(text) == amount


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "1.", ".5", "0.0000001", "nan", "1,5", " 1", "1 ", "\u0661", "9999999999"]
)
def test_what_is_no_amount_is_refused(text):
    """Also what could only be rounded, and what is absurd."""
    with pytest.raises(InvalidRequest):
        parse_credits(text)


@given(st.integers(0, MAX_UCR))
def test_what_is_written_is_read_back(amount):
    """Whatever the amount."""
    assert parse_credits(format_credits(amount).split()[0]) == amount


def test_amounts_are_written_for_people():
    """No trailing zeros, one credit in the singular, a sign in front."""
    written = [format_credits(amount) for amount in (2_500_000, CREDIT, 0, -1, 12_345_678)]

    assert written == ["2.5 credits", "1 credit", "0 credits", "-0.000001 credits", "12.345678 credits"]


@pytest.mark.parametrize(("seconds", "amount"), [(0, 0), (1, 334), (3, 1000), (3600, 1_200_000), (3601, 1_200_334)])
def test_time_is_billed_by_the_second_rounded_up(seconds, amount):
    """1.2 credits an hour are 333 and a third micro-credits a second."""
    assert TARIFF.charge("small", seconds) == amount


@given(st.integers(1, 10**12), st.integers(0, 10**9))
def test_rounding_is_up_and_by_less_than_one(price, seconds):
    """Against exact fractions, for any price."""
    exact = Fraction(price * seconds, 3600)

    assert 0 <= Tariff({"x": price}).charge("x", seconds) - exact < 1


def test_an_offer_without_a_price_is_not_sold():
    """Neither a zero nor an unknown price is free."""
    free = Offer("free", "local", 1, 1024, 0, 1, 0)

    for tariff in (Tariff.of([free]), Tariff({"free": 0}), Tariff({})):
        with pytest.raises(PriceUnknown):
            tariff.charge("free", 1)


def test_a_quote_is_the_whole_time_limit_on_every_node():
    """Two nodes for one hour at 1.2."""
    quoted = quote(Resources(nodes=2, time_limit_s=3600), "small", 2, TARIFF)

    assert quoted.total_ucr == 2_400_000
    assert quoted.lines[0].text == "2 nodes of small for 01:00:00 at most, 1.2 credits an hour"
    assert (quoted.lines[0].quantity, quoted.lines[0].unit) == (7200, "node-second")


def test_an_array_is_quoted_for_all_its_tasks():
    """Each task is rounded up by itself, as it will be billed."""
    quoted = quote(Resources(time_limit_s=90_061, array_tasks=7), "odd", 1, TARIFF)

    assert quoted.total_ucr == 7 * 26
    assert quoted.lines[0].text.startswith("7 tasks, each 1 node of odd for 1-01:01:01 at most")


@given(
    nodes=st.integers(1, 8),
    limit=st.integers(1, 10_000),
    tasks=st.integers(1, 5),
    price=st.integers(1, 10**7),
    data=st.data(),
)
def test_a_job_inside_its_limits_is_never_capped(nodes, limit, tasks, price, data):
    """What each task used, rounded up, never adds up to more than the quote."""
    tariff = Tariff({"small": price})
    resources = Resources(nodes=nodes, time_limit_s=limit, array_tasks=tasks)
    held = quote(resources, "small", nodes, tariff).total_ucr
    attempts = [an_attempt(data.draw(st.integers(0, limit)), nodes, task) for task in range(tasks)]

    billed = bill(a_job(held), attempts, tariff, NOW)

    assert billed.charged_ucr <= held
    assert all(line.amount_ucr >= 0 for line in billed.lines)


def a_job(hold_ucr: int) -> Job:
    request = JobRequest("sim", "#!/bin/sh\n", (), {}, Resources(), BurstOptions())
    return Job("f" * 32, 12, "ada", "ada", request, "small", Stage.STAGED_OUT, "COMPLETED", "", hold_ucr, "a" * 64, NOW)


def an_attempt(seconds: float, nodes: int = 1, task: int = NO_TASK, number: int = 0) -> Attempt:
    names = tuple(f"small-{node}" for node in range(nodes))
    return Attempt("f" * 32, task, number, 12, "COMPLETED", names, NOW, NOW + timedelta(seconds=seconds))


def test_a_bill_has_a_line_for_each_run():
    """A requeued job pays for both runs; parts of a second count as one."""
    billed = bill(a_job(CREDIT), [an_attempt(60, 2, 3), an_attempt(0.5, 2, 3, 1)], TARIFF, NOW)

    assert [(line.text, line.quantity, line.amount_ucr) for line in billed.lines] == [
        ("task 3, 2 nodes for 60 s, 1.2 credits an hour", 120, 40_000),
        ("task 3, run 2, 2 nodes for 1 s, 1.2 credits an hour", 2, 667),
    ]
    assert billed.charged_ucr == 40_667


def test_a_job_that_never_started_costs_nothing():
    """Cancelled while it was waiting."""
    waiting = replace(an_attempt(0), started_at=None, ended_at=NOW)

    assert bill(a_job(CREDIT), [waiting], TARIFF, NOW).charged_ucr == 0
    assert bill(a_job(CREDIT), [], TARIFF, NOW).lines == ()


def test_a_bill_is_capped_at_the_hold():
    """What is above is a line of its own, so that the lines still add up."""
    billed = bill(a_job(1_000), [an_attempt(3600)], TARIFF, NOW)

    assert billed.charged_ucr == 1_000 == sum(line.amount_ucr for line in billed.lines)
    assert billed.lines[-1].amount_ucr == 1_000 - 1_200_000
    assert "above the hold" in billed.lines[-1].text


def test_a_run_without_an_end_is_counted_until_now():
    """And one that, by cut-off times, seems to have ended before it began is still a run of a second."""
    running = replace(an_attempt(0), ended_at=None)

    assert bill(a_job(CREDIT), [running], TARIFF, NOW + timedelta(seconds=3)).charged_ucr == 1_000
    assert bill(a_job(CREDIT), [running], TARIFF, NOW - timedelta(seconds=3)).charged_ucr == 334


@pytest.mark.parametrize(("signed", "asked"), [(None, None), (100, None), (None, 100), (100, 200)])
def test_a_cost_inside_the_limits_passes(signed, asked):
    """Exactly at the limit is inside."""
    check(100, signed_ucr=signed, asked_ucr=asked)


@pytest.mark.parametrize(("signed", "asked"), [(99, None), (None, 99), (99, 200), (200, 99), (0, None)])
def test_a_cost_above_the_lower_limit_is_refused(signed, asked):
    """Whichever of the two it is; zero is a limit too."""
    with pytest.raises(Refused, match=r"may cost 0\.0001 credits; the most that was allowed is"):
        check(100, signed_ucr=signed, asked_ucr=asked)
