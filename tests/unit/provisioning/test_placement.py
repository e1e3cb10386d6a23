"""The order of supplies and the costs behind it, for any prices and any job."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PriceUnknown
from gateway.jobs.terms import Rates
from gateway.provisioning.node import Market
from gateway.provisioning.placement import Candidate, Need, compute_ucr, egress_ucr, rank
from gateway.provisioning.prices import Tag
from gateway.provisioning.supply import Supply

amounts = st.integers(0, 10**9)
needs = st.builds(
    Need,
    seconds=st.integers(1, 10**6),
    nodes=st.integers(1, 64),
    tasks=st.integers(1, 1000),
    input_bytes=st.integers(0, 10**13),
    output_bytes=st.integers(0, 10**13),
    spot=st.booleans(),
)


@st.composite
def candidates(draw):
    """Supplies of several clouds and markets; some have no price."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        spot = draw(st.booleans())
        price = draw(st.none() | st.integers(1, 10**9))
        rates = Rates(draw(amounts), draw(amounts))
        supply = Supply(f"c{number}/s{'+spot' if spot else ''}")
        found.append(Candidate(supply, Tag(price), rates, None if price else PriceUnknown()))
    return found


@given(needs, candidates(), st.sampled_from(["listed", "cheapest"]))
def test_every_supply_is_in_the_order_once(need, found, order):
    """None is lost, none is invented, and the same question has the same answer."""
    choices = rank(need, found, order)

    assert sorted(choice.supply.name for choice in choices) == sorted(each.supply.name for each in found)
    assert [each.supply for each in rank(need, found, order)] == [each.supply for each in choices]


@given(needs, candidates(), st.sampled_from(["listed", "cheapest"]))
def test_what_may_not_be_asked_is_last_and_says_why(need, found, order):
    """That is exactly what has no price, and spot machines for a job that does not allow them."""
    choices = rank(need, found, order)
    refused = [choice.refusal is not None for choice in choices]

    assert refused == sorted(refused)
    for choice in choices:
        spot = choice.supply.market is Market.SPOT and not need.spot
        assert (choice.refusal is not None) == (choice.candidate.tag.ucr is None or spot)


@given(needs, candidates())
def test_none_is_cheaper_than_the_first(need, found):
    """Machines and data together; equal ones keep the order of the settings."""
    allowed = [choice for choice in rank(need, found, "cheapest") if choice.refusal is None]
    places = [found.index(choice.candidate) for choice in allowed]

    assert [choice.total_ucr for choice in allowed] == sorted(choice.total_ucr for choice in allowed)
    for (one, other), (here, there) in zip(pairwise(allowed), pairwise(places), strict=True):
        assert one.total_ucr < other.total_ucr or here < there


@given(needs, candidates())
def test_the_listed_order_is_kept_whatever_things_cost(need, found):
    """Among those that may be asked."""
    allowed = [choice.candidate for choice in rank(need, found, "listed") if choice.refusal is None]

    assert allowed == [each for each in found if each in allowed]


@given(needs, st.integers(1, 10**9), amounts, amounts)
def test_costs_are_never_below_what_they_are_made_of(need, price, rate_in, rate_out):
    """Rounded up, each task by less than a micro-credit for its machines and less than two for its data."""
    compute, data = compute_ucr(need, price), egress_ucr(need, Rates(rate_in, rate_out))
    exact = need.tasks * price * need.nodes * need.seconds
    moved = need.tasks * (rate_in * need.nodes * need.input_bytes + rate_out * need.output_bytes)

    assert exact <= compute * 3600 < exact + 3600 * need.tasks
    assert moved <= data * 10**9 < moved + 2 * 10**9 * need.tasks


@given(needs, st.integers(1, 10**6))
def test_more_data_never_costs_less(need, rate):
    """And none costs nothing."""
    more = Need(**{**vars(need), "input_bytes": need.input_bytes + 10**9})

    assert egress_ucr(more, Rates(rate, rate)) > egress_ucr(need, Rates(rate, rate))
    assert egress_ucr(need, Rates()) == 0
