"""Budgets and reports: what is admitted, and sums that lose nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.budget import Budget, Spending, admit
from gateway.accounting.report import Charge, Dimension, report
from gateway.accounting.tariff import Line
from gateway.errors import BudgetExceeded

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
amounts = st.integers(0, 10**9)


def budget(limit: int, *, stops: bool = False) -> Budget:
    """The account lab's."""
    return Budget("lab", limit, stops, NOW, "admin", True, "a" * 64)


@given(st.integers(1, 10**6), st.lists(st.integers(0, 10**6), max_size=40))
def test_a_plain_budget_is_never_exceeded(limit, holds):
    """Whatever is asked, what was admitted fits, even if every job costs all that was held."""
    committed = 0
    for hold in holds:
        try:
            admit(budget(limit), Spending(committed // 2, committed - committed // 2), hold)
        except BudgetExceeded:
            assert committed + hold > limit
        else:
            committed += hold
    assert committed <= limit


def test_a_budget_is_used_to_its_last_micro_credit():
    """Exactly at the limit is inside."""
    admit(budget(100), Spending(30, 30), 40)
    with pytest.raises(BudgetExceeded, match=r"lab is 0\.0001 credits: 0\.00003 credits spent, 0\.00003 credits held"):
        admit(budget(100), Spending(30, 30), 41)


def test_a_budget_that_stops_admits_while_anything_is_left():
    """Holds do not count: running jobs are ended when it is used up."""
    admit(budget(100, stops=True), Spending(99, 10_000), 10_000)
    with pytest.raises(BudgetExceeded):
        admit(budget(100, stops=True), Spending(100, 0), 1)


def test_without_a_budget_the_balance_decides():
    """Nothing is refused here."""
    admit(None, Spending(10**9, 10**9), 10**9)


charges = st.builds(
    Charge,
    job=st.uuids().map(str),
    account=st.sampled_from(["ada", "lab"]),
    user=st.sampled_from(["ada", "bob", "cy"]),
    settled_at=st.integers(0, 400).map(lambda days: NOW + timedelta(days=days)),
    spend_ucr=amounts,
    lines=st.lists(st.builds(Line, st.just(""), amounts, st.sampled_from(["node-second", "mc.sweep@v1"]), amounts)).map(
        tuple
    ),
)


@given(st.lists(charges, max_size=30), st.lists(st.sampled_from(list(Dimension)), max_size=3))
def test_groups_sum_to_what_was_spent(found, by):
    """Money, jobs and units, whatever the groups are."""
    groups = report(found, by)

    assert sum(group.spend_ucr for group in groups) == sum(charge.spend_ucr for charge in found)
    assert sum(group.jobs for group in groups) == len(found)
    for unit in ("node-second", "mc.sweep@v1"):
        used = sum(line.quantity for charge in found for line in charge.lines if line.unit == unit)
        assert sum(group.units[unit] for group in groups) == used
    assert len({group.keys for group in groups}) == len(groups)
