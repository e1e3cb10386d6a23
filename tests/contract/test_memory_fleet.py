"""The stored nodes in memory, as the simulator has them: the same contract as in SQL."""

from __future__ import annotations

import pytest
from test_fleet import (
    NOW,
    test_a_late_worker_does_not_overwrite_a_move,
    test_a_new_node_is_off_and_adding_it_again_changes_nothing,
    test_a_node_that_is_not_there_is_not_found,
    test_a_worker_of_an_earlier_generation_does_not_touch_a_later_one,
    test_all_facts_come_back_as_they_were,
    test_facts_noted_by_two_workers_do_not_erase_each_other,
    test_nodes_are_listed_by_name_and_state,
    test_only_legal_moves_are_recorded,
    test_the_timeline_is_that_of_the_present_generation,
)

from gateway.errors import Conflict
from gateway.provisioning.lifecycle import NodeState
from gateway.testing.memory_fleet import MemoryNodes

__all__ = [
    "test_a_late_worker_does_not_overwrite_a_move",
    "test_a_new_node_is_off_and_adding_it_again_changes_nothing",
    "test_a_node_that_is_not_there_is_not_found",
    "test_a_worker_of_an_earlier_generation_does_not_touch_a_later_one",
    "test_all_facts_come_back_as_they_were",
    "test_facts_noted_by_two_workers_do_not_erase_each_other",
    "test_nodes_are_listed_by_name_and_state",
    "test_only_legal_moves_are_recorded",
    "test_the_timeline_is_that_of_the_present_generation",
]


@pytest.fixture
def fleet():
    """Two nodes, in one transaction."""
    with MemoryNodes().begin() as nodes:
        for name in ("small-2", "small-1"):
            nodes.add(name, "small", NOW)
        yield nodes


def test_what_a_failed_transaction_did_is_not_seen():
    """All of it or nothing, as in a database."""
    nodes = MemoryNodes()
    with nodes.begin() as fleet:
        fleet.add("small-1", "small", NOW)

    def too_far():
        with nodes.begin() as fleet:
            node = fleet.move(fleet.get("small-1"), NodeState.INTENT, NOW, "asked")
            fleet.move(node, NodeState.IDLE, NOW, "too far")

    with pytest.raises(Conflict):
        too_far()
    with nodes.begin() as fleet:
        assert (fleet.get("small-1").state, fleet.timeline("small-1")) == (NodeState.OFF, ())
