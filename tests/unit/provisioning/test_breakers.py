"""Breakers: which refusal keeps what from being asked, and for how long; I12 of the invariants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import (
    Ambiguous,
    Capacity,
    CloudAuth,
    CloudError,
    CloudInvalid,
    CloudTransient,
    LimitReached,
    Quota,
    Throttled,
)
from gateway.provisioning.breakers import HOUR, RULES, Breakers
from gateway.provisioning.node import Market
from gateway.provisioning.supply import Supply

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HERE = Supply("aws/m5.large@eu-1a")
SUPPLIES = {
    "here": HERE,
    "another zone": Supply("aws/m5.large@eu-1b"),
    "another market": Supply("aws/m5.large@eu-1a+spot"),
    "the same family": Supply("aws/m5.xlarge@eu-1a"),
    "another family": Supply("aws/c6.large@eu-1a"),
    "another cloud": Supply("gce/m5.large@eu-1a"),
}
SHUTS = {
    Capacity: {"here"},
    Quota: {"here", "another zone", "the same family"},
    CloudAuth: {"here", "another zone", "another market", "the same family", "another family"},
    CloudInvalid: {"here"},
}
SAY_NOTHING = (Throttled, CloudTransient, Ambiguous, LimitReached, CloudError)


@pytest.mark.parametrize("kind", SHUTS)
def test_each_class_of_error_shuts_what_it_is_about(kind):
    """No room: one zone and market of a size. No quota: a family. No rights: the cloud. A wrong order: that order."""
    breakers = Breakers()
    breakers.trip(HERE, kind("no"), NOW)

    shut = {what for what, supply in SUPPLIES.items() if breakers.refusal(supply, NOW) is not None}

    assert shut == SHUTS[kind]


@given(errors=st.lists(st.sampled_from(SAY_NOTHING), max_size=50))
def test_i12_throttling_alone_never_keeps_from_asking(errors):
    """However often a cloud asks for fewer calls, fails, or does not answer: it has said nothing about room."""
    breakers = Breakers()
    for kind in errors:
        breakers.trip(HERE, kind("slow down"), NOW)
    assert all(breakers.refusal(supply, NOW) is None for supply in SUPPLIES.values())


@given(trips=st.integers(1, 80), kind=st.sampled_from([Capacity, Quota, CloudAuth]))
def test_it_closes_by_itself_later_each_time(trips, kind):
    """Twice as late for each refusal in a row, and never later than its limit."""
    breakers, now, rule = Breakers(), NOW, RULES[kind]
    for number in range(trips):
        breakers.trip(HERE, kind("no"), now)
        span = min(rule.first * 2 ** min(number, 20), rule.most)
        assert breakers.refusal(HERE, now + span - timedelta(seconds=1)) is not None
        now += span
        assert breakers.refusal(HERE, now) is None
    assert rule.most <= HOUR


def test_an_order_that_is_taken_closes_it():
    """And the next refusal counts as the first."""
    breakers = Breakers()
    for _ in range(5):
        breakers.trip(HERE, Capacity("no"), NOW)
    breakers.close(HERE)
    assert breakers.refusal(HERE, NOW) is None
    breakers.trip(HERE, Capacity("no"), NOW)
    assert breakers.refusal(HERE, NOW + RULES[Capacity].first) is None


def test_this_computer_is_always_asked():
    """It knows at once when it has room again."""
    breakers, local = Breakers(), Supply("local/small")
    breakers.trip(local, Capacity("all in use"), NOW)
    assert breakers.refusal(local, NOW) is None


@pytest.mark.parametrize(
    ("name", "size", "zone", "market"),
    [
        ("aws/m5.large", "m5.large", "", Market.ON_DEMAND),
        ("aws/m5.large@eu-1a", "m5.large", "eu-1a", Market.ON_DEMAND),
        ("gce/n2-standard-4@europe-west1-b+spot", "n2-standard-4", "europe-west1-b", Market.SPOT),
        ("aws/t3.small+spot", "t3.small", "", Market.SPOT),
    ],
)
def test_a_supplys_name_says_size_zone_and_market(name, size, zone, market):
    """CLOUD/SIZE[@ZONE][+spot]."""
    supply = Supply(name)
    assert (supply.cloud, supply.size, supply.zone, supply.market) == (name.partition("/")[0], size, zone, market)
