"""What is counted of nodes and machines."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client import REGISTRY

from gateway.errors import Quota
from gateway.provisioning import figures
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NodeState

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def value(name: str, **labels: str) -> float | None:
    """Of one series; None if there is none."""
    return REGISTRY.get_sample_value(name, labels)


def test_nodes_are_counted_by_state_and_those_that_cost_are_priced() -> None:
    """Given two machines, one node that waits for room and one that is off, only the machines have a price."""
    states = (NodeState.IDLE, NodeState.TERMINATING, NodeState.CAPACITY_BLOCKED, NodeState.OFF)
    nodes = [ElasticNode(f"tiny-{n}", 1, state, "tiny", NOW) for n, state in enumerate(states)]
    figures.count_nodes(nodes, {"tiny": 2_500_000})
    assert value("burst_nodes", offer="tiny", state="capacity-blocked") == 1
    assert value("burst_nodes_credits_per_hour", offer="tiny") == 5.0


def test_a_state_that_no_node_is_in_any_more_is_not_told() -> None:
    """Given a node that moved on, the state that it left has no count."""
    figures.count_nodes([ElasticNode("tiny-1", 1, NodeState.BUSY, "tiny", NOW)], {})
    figures.count_nodes([ElasticNode("tiny-1", 1, NodeState.IDLE, "tiny", NOW)], {})
    assert value("burst_nodes", offer="tiny", state="busy") is None


def test_launches_are_counted_by_what_the_cloud_said() -> None:
    """Given one machine made and one refused by quota, each has a count under its cloud."""
    before = value("burst_launches_total", cloud="c9", outcome="quota") or 0
    figures.launched("c9/large@a+spot", 1, Quota("no more"))
    figures.launched("c9/large", 1)
    assert value("burst_launches_total", cloud="c9", outcome="quota") == before + 1
    assert value("burst_launches_total", cloud="c9", outcome="made") == 1


def test_the_oldest_orphan_has_an_age_until_it_is_gone() -> None:
    """Given an orphan that stays while others come and go, the age is its own; without orphans it is 0."""
    clock = iter((100.0, 130.0, 190.0, 200.0))
    watch = figures.OrphanWatch(lambda: next(clock))
    watch.saw("c9", {"m-1"})
    watch.saw("c9", {"m-1", "m-2"})
    assert value("burst_orphan_age_seconds", cloud="c9") == 30
    watch.saw("c9", {"m-2"})
    assert value("burst_orphan_age_seconds", cloud="c9") == 60
    watch.saw("c9", set())
    assert value("burst_orphan_age_seconds", cloud="c9") == 0
