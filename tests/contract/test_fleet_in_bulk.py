"""Many nodes that change at once: as if each had been moved by itself, or none of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from gateway.errors import Conflict
from gateway.provisioning.fleet import Change
from gateway.provisioning.lifecycle import NodeState
from gateway.storage.audit import SqlAudit
from gateway.storage.group_tables import audit_records
from gateway.storage.nodes import SqlFleet

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=7)
NAMES = ("small-1", "small-2", "small-3")


@pytest.fixture
def stored(database):
    """Three nodes with an intent."""
    with database.begin() as connection:
        fleet = SqlFleet(connection)
        for name in NAMES:
            fleet.add(name, "small", NOW)
            fleet.move(fleet.get(name), NodeState.INTENT, NOW, "wanted", generation=1)
    return database


def asked(nodes, **facts) -> list[Change]:
    return [Change(node, {"supply": "aws/m5", "gang_number": i, **facts}, f"asking for {i}") for i, node in nodes]


def test_each_is_moved_with_facts_of_its_own(stored):
    """State, timeline and audit log are as if it had been moved alone; the log's chain holds."""
    with stored.begin() as connection:
        fleet = SqlFleet(connection)
        moved = fleet.move_all(asked(enumerate(fleet.all())), NodeState.REQUESTED, LATER)
        assert moved == fleet.all()

    with stored.begin() as connection:
        fleet = SqlFleet(connection)
        assert [(node.state, node.since, node.gang_number) for node in fleet.all()] == [
            (NodeState.REQUESTED, LATER, i) for i in range(3)
        ]
        assert [fleet.timeline(name)[-1].text for name in NAMES] == ["asking for 0", "asking for 1", "asking for 2"]
        told = connection.execute(select(audit_records.c.subject, audit_records.c.text)).all()
        assert [tuple(each) for each in told] == [
            (f"node:{name}", f"asking for {i} (small, generation 1)") for i, name in enumerate(NAMES)
        ]
        assert SqlAudit(connection).verify_chain().records == 3


def test_one_that_somebody_else_moved_keeps_all_from_moving(stored):
    """What was decided on is not what is stored any more: nothing of the transaction stays."""
    with stored.begin() as connection:
        before = SqlFleet(connection).all()
        SqlFleet(connection).move(before[1], NodeState.OFF, NOW, "not wanted any more")

    with pytest.raises(Conflict), stored.begin() as connection:
        SqlFleet(connection).move_all(asked(enumerate(before)), NodeState.REQUESTED, LATER)

    with stored.begin() as connection:
        states = [node.state for node in SqlFleet(connection).all()]
        assert states == [NodeState.INTENT, NodeState.OFF, NodeState.INTENT]
        assert connection.execute(select(audit_records.c.subject)).scalars().all() == ["node:small-2"]


def test_one_whose_lock_another_worker_took_keeps_all_from_being_noted(stored):
    """A note is refused as a move is."""
    with stored.begin() as connection:
        before = SqlFleet(connection).all()
        SqlFleet(connection).note(before[2], lock="another")

    with pytest.raises(Conflict), stored.begin() as connection:
        SqlFleet(connection).note_all([Change(node, {"reason": "mine"}) for node in before])

    with stored.begin() as connection:
        assert {node.reason for node in SqlFleet(connection).all()} == {""}


def test_a_move_that_is_not_legal_is_refused_for_all(stored):
    """The table of moves holds for many as for one."""
    with stored.begin() as connection:
        fleet = SqlFleet(connection)
        with pytest.raises(Conflict, match="small-1 cannot go from intent to idle"):
            fleet.move_all([Change(node, {}, "up") for node in fleet.all()], NodeState.IDLE, NOW)


def test_none_is_no_change(stored):
    """Nothing is written then, nor told."""
    with stored.begin() as connection:
        assert SqlFleet(connection).move_all([], NodeState.REQUESTED, NOW) == ()
        assert SqlFleet(connection).note_all([]) == ()


def test_nodes_are_read_by_name_and_counted_by_whose_they_are(stored):
    """A name that is none is left out."""
    with stored.begin() as connection:
        fleet = SqlFleet(connection)
        known = fleet.get_all(["small-3", "none", "small-1"])
        fleet.move(known["small-1"], NodeState.REQUESTED, NOW, "asking", supply="aws/m5", account="physics")

        assert set(known) == {"small-1", "small-3"}
        assert fleet.tally({NodeState.INTENT, NodeState.REQUESTED}) == {(None, ""): 2, ("aws/m5", "physics"): 1}
