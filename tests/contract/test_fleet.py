"""The stored nodes, on every database: a late worker never overwrites a move, and nothing is half known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import Conflict, NotFound
from gateway.provisioning.lifecycle import MOVES, NodeState
from gateway.storage.nodes import SqlFleet

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def fleet(database):
    """Two nodes, in one transaction."""
    with database.begin() as connection:
        nodes = SqlFleet(connection)
        for name in ("small-2", "small-1"):
            nodes.add(name, "small", NOW)
        yield nodes


def moved(fleet, *states):
    """small-1 after these moves, from OFF."""
    node = fleet.get("small-1")
    for state in states:
        node = fleet.move(node, state, NOW, f"to {state}")
    return node


def test_a_new_node_is_off_and_adding_it_again_changes_nothing(fleet):
    """Every start of the gateway adds all of its nodes."""
    node = moved(fleet, NodeState.INTENT)
    fleet.add("small-1", "large", NOW + timedelta(days=1))

    assert fleet.get("small-1") == node
    assert (fleet.get("small-2").state, fleet.get("small-2").generation) == (NodeState.OFF, 0)


def test_nodes_are_listed_by_name_and_state(fleet):
    """All of them, some of them, or none."""
    moved(fleet, NodeState.INTENT)

    assert [node.name for node in fleet.all()] == ["small-1", "small-2"]
    assert [node.name for node in fleet.all([NodeState.INTENT, NodeState.IDLE])] == ["small-1"]
    assert fleet.all([]) == ()


def test_a_node_that_is_not_there_is_not_found(fleet):
    """With what to do next."""
    with pytest.raises(NotFound) as refused:
        fleet.get("small-9")

    assert refused.value.hint


def test_all_facts_come_back_as_they_were(fleet):
    """Every field of a node, with its times in UTC."""
    facts = {
        "generation": 7,
        "machine_id": "m-1",
        "address": "10.0.0.2",
        "join_token_hash": "a" * 64,
        "public_addresses": ("192.0.2.1",),
        "join_until": NOW + timedelta(minutes=4),
        "public_key": {"kty": "OKP", "crv": "Ed25519", "x": "k"},
        "ssh_host_keys": ("ssh-ed25519 AAAA",),
        "lease_until": NOW + timedelta(minutes=15),
        "wanted": True,
        "job": 2**32 - 1,
        "reason": "because",
    }
    node = fleet.move(fleet.get("small-1"), NodeState.INTENT, NOW, "told", **facts)

    assert fleet.get("small-1") == node
    assert {name: getattr(node, name) for name in facts} == facts


@pytest.mark.parametrize("state", list(NodeState))
def test_only_legal_moves_are_recorded(fleet, state):
    """Whatever the table does not have is a conflict, and changes nothing."""
    off = fleet.get("small-1")
    if state in MOVES[NodeState.OFF]:
        assert fleet.move(off, state, NOW, "told").state is state
        return
    with pytest.raises(Conflict):
        fleet.move(off, state, NOW, "told")
    assert fleet.get("small-1") == off
    assert fleet.timeline("small-1") == ()


def test_a_late_worker_does_not_overwrite_a_move(fleet):
    """What was decided on an earlier state is a conflict, be it a move or a fact."""
    late = moved(fleet, NodeState.INTENT)
    current = fleet.move(late, NodeState.REQUESTED, NOW, "first")

    for attempt in (
        lambda: fleet.move(late, NodeState.REQUESTED, NOW, "second"),
        lambda: fleet.move(late, NodeState.OFF, NOW, "second"),
        lambda: fleet.note(late, machine_id="m-2"),
    ):
        with pytest.raises(Conflict):
            attempt()
    assert fleet.get("small-1") == current
    assert [event.text for event in fleet.timeline("small-1")] == ["to intent", "first"]


def test_a_worker_of_an_earlier_generation_does_not_touch_a_later_one(fleet):
    """The same state again, but another machine."""
    first = moved(fleet, NodeState.INTENT)
    second = fleet.move(fleet.move(first, NodeState.OFF, NOW, "x"), NodeState.INTENT, NOW, "y", generation=1)

    for attempt in (
        lambda: fleet.move(first, NodeState.REQUESTED, NOW, "late"),
        lambda: fleet.note(first, reason="late"),
    ):
        with pytest.raises(Conflict):
            attempt()
    assert fleet.get("small-1") == second


def test_facts_noted_by_two_workers_do_not_erase_each_other(fleet):
    """Only what changed is written."""
    mine = yours = moved(fleet, NodeState.INTENT)

    fleet.note(mine, wanted=True)
    fleet.note(yours, reason="yours")

    assert fleet.get("small-1") == replace(mine, wanted=True, reason="yours")


def test_the_timeline_is_that_of_the_present_generation(fleet):
    """Each launch begins a new one, in the order of the moves."""
    node = moved(fleet, NodeState.INTENT, NodeState.OFF)
    fleet.move(fleet.move(node, NodeState.INTENT, NOW, "again", generation=1), NodeState.REQUESTED, NOW, "asked")

    assert [(event.kind, event.text) for event in fleet.timeline("small-1")] == [
        ("intent", "again"),
        ("requested", "asked"),
    ]
