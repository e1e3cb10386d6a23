"""What a resume request says of each node: for which job, and with how many others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.wishes import JobNodes, wish

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = ("small-1", "small-2", "small-3", "small-4")


def known(**states: NodeState) -> dict[str, ElasticNode]:
    """Four nodes, OFF but for those that are named."""
    return {
        name: ElasticNode(name, 1, states.get(name.replace("-", "_"), NodeState.OFF), "small", NOW) for name in NAMES
    }


def test_a_job_of_two_nodes_asks_for_both_together():
    """Each knows the job and how many they are."""
    job = JobNodes(7, NAMES[:2], NAMES[:2])
    for name in NAMES[:2]:
        assert wish(known(), name, [job], NOW) == {
            "wanted": True,
            "wanted_by": 7,
            "wanted_with": 2,
            "wanted_at": NOW,
        }


def test_nodes_that_are_up_already_are_not_waited_for():
    """Nor are those whose machine is on its way."""
    nodes = known(small_1=NodeState.IDLE, small_2=NodeState.BOOTING)
    assert wish(nodes, "small-3", [JobNodes(7, NAMES, NAMES[2:])], NOW)["wanted_with"] == 2


def test_a_job_whose_nodes_come_in_two_requests_is_one_gang():
    """slurmctld meters its requests: the second names the other nodes, and all are counted in both."""
    first = wish(known(), "small-1", [JobNodes(7, NAMES, NAMES[:2])], NOW)
    nodes = known(small_1=NodeState.INTENT, small_2=NodeState.INTENT)
    second = wish(nodes, "small-3", [JobNodes(7, NAMES, NAMES[2:])], NOW)

    assert (first["wanted_by"], first["wanted_with"]) == (second["wanted_by"], second["wanted_with"]) == (7, 4)


def test_what_another_job_waits_for_is_not_waited_for_as_one():
    """Given a node that another job asked for and no cloud has room for, a job that shares it orders the rest alone."""
    others = replace(known(small_1=NodeState.CAPACITY_BLOCKED)["small-1"], job=6, wanted_with=2)
    nodes = {**known(), "small-1": others}
    assert wish(nodes, "small-2", [JobNodes(7, NAMES[:2], NAMES[:2])], NOW)["wanted_with"] == 1
    assert wish(nodes, "small-2", [JobNodes(6, NAMES[:2], NAMES[:2])], NOW)["wanted_with"] == 2


def test_a_request_that_is_made_again_changes_nothing():
    """Neither the time of the wish nor, without its file, the job."""
    node = replace(known()["small-1"], wanted=True, wanted_by=7, wanted_with=2, wanted_at=NOW)
    again = wish({**known(), "small-1": node}, "small-1", [], NOW + timedelta(seconds=9))

    assert again == {"wanted": True, "wanted_by": 7, "wanted_with": 2, "wanted_at": NOW}


@pytest.mark.parametrize("state", [NodeState.PENDING, NodeState.CAPACITY_BLOCKED, NodeState.BUSY])
def test_a_node_that_is_on_its_way_has_been_asked_for(state):
    """The request is a replay."""
    assert wish(known(small_1=state), "small-1", [JobNodes(8, NAMES[:1], NAMES[:1])], NOW) == {"wanted": False}


def test_a_request_after_a_lost_one_still_tells_the_job():
    """An intent of before it was known whose it is learns so."""
    facts = wish(known(small_1=NodeState.INTENT), "small-1", [JobNodes(7, NAMES[:1], NAMES[:1])], NOW)
    assert (facts["wanted"], facts["job"]) == (False, 7)
