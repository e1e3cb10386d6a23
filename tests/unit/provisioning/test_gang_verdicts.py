"""The verdict on a gang: all of its machines, in one place, or none; I6 of the invariants."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.gangs import UNORDERED, GangVerdict, Together, gangs_of, judge
from gateway.provisioning.lifecycle import MOVES, USABLE, Limits, NodeState
from gateway.provisioning.node import Machine, MachineState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LIMITS = Limits(gang_wait_s=300, capacity_wait_s=900)
STARTING = (NodeState.PENDING, NodeState.BOOTING, NodeState.BOOTSTRAPPED)


def node(number: int, state: NodeState, *, age_s: float = 60, size: int = 2, **more: object) -> ElasticNode:
    """Node ``number`` of a gang; it has an order unless its state says else."""
    at = NOW - timedelta(seconds=age_s)
    known = ElasticNode(f"small-{number}", 1, state, "small", at, wanted_with=size, wanted_by=7, wanted_at=at, job=7)
    if state not in UNORDERED:
        order = {"gang": "g" * 32, "gang_number": number, "ordered_at": at, "supply": "aws/m5@a"}
        known = replace(known, machine_id=f"m-{number}", **order)
    return replace(known, **more)


def verdict(*nodes: ElasticNode, **machines: Machine) -> GangVerdict:
    """On the one gang that these are."""
    (gang,) = gangs_of(nodes)
    return judge(gang, {name.replace("_", "-"): machine for name, machine in machines.items()}, NOW, LIMITS)


def test_i06_nothing_is_ordered_for_a_part_of_a_gang():
    """Until all of its nodes are asked for and free, none is launched."""
    for state in NodeState:
        parts = [node(0, NodeState.INTENT), node(1, state, size=2)]
        gangs = gangs_of(parts)
        verdicts = [judge(gang, {}, NOW, LIMITS) for gang in gangs]
        launched = [
            each for each in verdicts if each.act is Together.LAUNCH and node(0, NodeState.INTENT) in each.nodes
        ]
        assert bool(launched) == (state in UNORDERED), state
        assert all(len(each.nodes) == 2 for each in launched)


def test_i06_a_part_that_runs_alone_is_ended_after_gang_wait():
    """Whatever the states of two machines of one gang: once one is late, both are given up."""
    for other in STARTING:
        early = verdict(node(0, NodeState.PENDING, age_s=299), node(1, other, age_s=299))
        late = verdict(node(0, NodeState.PENDING, age_s=301), node(1, other, age_s=301))
        assert early.act is Together.ALONE
        assert {each.name for each in late.nodes} == {"small-0", "small-1"}
        assert late.act is (Together.FAIL if other is NodeState.BOOTSTRAPPED else Together.ELSEWHERE)
        assert late.scarce


def test_a_machine_without_room_takes_the_whole_gang_elsewhere():
    """The cloud took the order, and had no room for the second."""
    full = Machine("m-1", "small-1", 1, "t", MachineState.PENDING, None, no_room="no host left")
    found = verdict(node(0, NodeState.BOOTING), node(1, NodeState.PENDING), small_1=full)

    assert (found.act, found.text, len(found.nodes)) == (Together.ELSEWHERE, "no host left", 2)


def test_a_gang_that_slurm_has_heard_of_is_not_exchanged_unseen():
    """Slurm would take the new machine for a node that restarted under a job: it is told, and requeues."""
    full = Machine("m-1", "small-1", 1, "t", MachineState.PENDING, None, no_room="no host left")
    for heard in (NodeState.BOOTSTRAPPED, NodeState.BUSY):
        assert verdict(node(0, heard), node(1, NodeState.PENDING), small_1=full).act is Together.FAIL


def test_what_starts_is_failed_when_another_of_the_gang_is_lost():
    """The job cannot start any more; Slurm requeues it."""
    found = verdict(node(0, NodeState.BOOTING), node(1, NodeState.FAILED_BOOT, reason="its machine is error"))

    assert (found.act, [each.name for each in found.nodes]) == (Together.FAIL, ["small-0"])
    assert "its machine is error" in found.text


def test_an_order_whose_outcome_is_unknown_is_given_again_whole():
    """With the node that has joined meanwhile, or the token would be another."""
    found = verdict(node(0, NodeState.BOOTSTRAPPED), node(1, NodeState.AMBIGUOUS))

    assert (found.act, len(found.nodes)) == (Together.LAUNCH, 2)
    assert verdict(node(0, NodeState.AMBIGUOUS, age_s=1), node(1, NodeState.AMBIGUOUS)).act is Together.WAIT


@pytest.mark.parametrize("other", [NodeState.TERMINATING, None])
def test_an_unknown_order_is_not_given_again_for_a_node_that_is_wanted_no_more(other):
    """It would make a machine for it."""
    nodes = [node(0, NodeState.AMBIGUOUS), *([node(1, other)] if other else [])]
    assert verdict(*nodes).act is Together.ELSEWHERE


def test_a_gang_without_room_waits_and_is_given_up_after_capacity_wait():
    """With the reason of the last refusal."""
    waiting = [node(each, NodeState.CAPACITY_BLOCKED, age_s=899, reason="a is full") for each in (0, 1)]
    over = [node(each, NodeState.CAPACITY_BLOCKED, age_s=901, reason="a is full") for each in (0, 1)]

    assert verdict(*waiting).act is Together.LAUNCH
    assert verdict(*over) == GangVerdict(Together.FAIL, tuple(over), "no room within 900 s: a is full")


def test_a_part_whose_rest_never_comes_is_given_up():
    """Slurm's request for the rest was lost, or their last machines do not end."""
    assert verdict(node(0, NodeState.INTENT, age_s=299)).act is Together.WAIT
    assert verdict(node(0, NodeState.INTENT, age_s=301)).act is Together.FAIL


def test_a_gang_in_service_is_many_nodes():
    """Once all are up, each lives and ends for itself."""
    for first, second in itertools.product(USABLE, [*USABLE, NodeState.DRAINING, NodeState.TERMINATING]):
        assert verdict(node(0, first), node(1, second)).act is Together.ALONE


def test_every_pair_of_states_has_one_verdict_that_can_be_done():
    """Total; what is to fail or to move may do so by the table of moves."""
    for first, second, age in itertools.product(NodeState, NodeState, (1, 301, 10**6)):
        for gang in gangs_of([node(0, first, age_s=age), node(1, second, age_s=age)]):
            found = judge(gang, {}, NOW, LIMITS)
            assert isinstance(found, GangVerdict)
            if found.act is Together.ELSEWHERE:
                assert all(NodeState.TERMINATING in MOVES[each.state] for each in found.nodes)
            if found.act is Together.FAIL:
                ends = {NodeState.FAILED_BOOT, NodeState.TERMINATING, NodeState.OFF}
                assert all(ends & MOVES[each.state] for each in found.nodes)


def test_nodes_of_one_job_each_are_no_gang():
    """They are launched as ever."""
    assert gangs_of([node(0, NodeState.INTENT, size=1), node(1, NodeState.INTENT, job=None)]) == ()
