"""The verdict on a node: one for every combination of record, cloud and Slurm, and none that destroys on silence."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import DEADLINE_S, NodeState, may_move
from gateway.provisioning.node import Machine, MachineState
from gateway.provisioning.reconcile import Act, Source, Verdict, decide, is_up, orphans

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AGES_S = (0, 1, 5, 31, 121, 301, 601, 10**6)

BASES = ("IDLE", "ALLOCATED", "MIXED", "DOWN", "UNKNOWN", "FUTURE", "A_STATE_OF_NEXT_YEAR")
FLAGS = ("CLOUD", "POWERED_DOWN", "POWERING_UP", "POWERING_DOWN", "NOT_RESPONDING", "COMPLETING", "DRAIN")
SLURM = [frozenset({base, *flags}) for base in BASES for n in (0, 1, 2) for flags in itertools.combinations(FLAGS, n)]
MACHINES = [None, *MachineState]
DESTRUCTIVE = {Act.FAIL, Act.DESTROY}


def node(state: NodeState, *, age_s: float = 0, generation: int = 3, wanted: bool = False) -> ElasticNode:
    """A node that has been in ``state`` for so long."""
    since = NOW - timedelta(seconds=age_s)
    return ElasticNode("small-1", generation, state, "small", since, machine_id="m-1", wanted=wanted)


def machine(state: MachineState | None, *, generation: int = 3, name: str = "small-1") -> Machine | None:
    """The node's machine in a state; None when the cloud has none."""
    return None if state is None else Machine("m-1", name, generation, "t", state, "10.0.0.2")


EVERY_NODE = [
    node(state, age_s=age, wanted=wanted) for state in NodeState for age in AGES_S for wanted in (False, True)
]


def test_i20_there_is_exactly_one_verdict_for_every_combination():
    """Each state, age, machine and set of Slurm flags gets a verdict, and a move is one that the table allows."""
    seen = [*map(machine, MACHINES), Source.UNREAD]
    for one, cloud, slurm in itertools.product(EVERY_NODE, seen, [*SLURM, Source.UNREAD]):
        verdict = decide(one, cloud, slurm, NOW)

        assert isinstance(verdict, Verdict)
        assert (verdict.state is not None) == (verdict.act is Act.MOVE)
        if verdict.state is not None:
            assert may_move(one.state, verdict.state)
        if verdict.act is Act.FAIL:
            assert verdict.text


def test_i11_nothing_is_failed_or_ended_because_the_cloud_was_silent():
    """Where the listing could not be read, an end comes only where every listing would have brought it."""
    for one, slurm in itertools.product(EVERY_NODE, [*SLURM, Source.UNREAD]):
        verdict = decide(one, Source.UNREAD, slurm, NOW)

        assert verdict.act is not Act.FAIL
        if verdict.act in DESTRUCTIVE:
            answers = {decide(one, machine(state), slurm, NOW).act for state in MACHINES}
            assert answers <= DESTRUCTIVE


def test_i11_nothing_is_failed_or_ended_because_slurm_was_silent():
    """Where Slurm could not be asked, an end comes only where every answer of it would have brought it."""
    for one, cloud in itertools.product(EVERY_NODE, [*map(machine, MACHINES), Source.UNREAD]):
        if decide(one, cloud, Source.UNREAD, NOW).act in DESTRUCTIVE:
            answers = {decide(one, cloud, slurm, NOW).act for slurm in SLURM}
            assert answers <= DESTRUCTIVE


def test_i19_a_word_that_nobody_knows_is_no_answer():
    """Whatever else Slurm says beside it: as if it had not been asked."""
    strange = [slurm | {"A_FLAG_OF_NEXT_YEAR"} for slurm in SLURM]
    for one, cloud, slurm in itertools.product(EVERY_NODE, [*map(machine, MACHINES), Source.UNREAD], strange[::9]):
        assert decide(one, cloud, slurm, NOW) == decide(one, cloud, Source.UNREAD, NOW)


def test_a_node_in_use_outlives_a_listing_that_lacks_it():
    """Slurm hears from it, so its machine is there whatever the cloud says."""
    for state in (NodeState.IDLE, NodeState.BUSY):
        for slurm in filter(is_up, SLURM):
            assert decide(node(state, age_s=10**6), None, slurm, NOW).act not in DESTRUCTIVE


@pytest.mark.parametrize("state", [NodeState.PENDING, NodeState.BOOTING, NodeState.BOOTSTRAPPED])
def test_a_new_machine_may_be_missing_from_the_listing_for_a_moment(state):
    """Listings lag behind create calls: a machine counts as gone only when the grace is over."""
    down = frozenset({"IDLE", "CLOUD", "POWERING_UP"})

    assert decide(node(state, age_s=29), None, down, NOW).act is Act.NOTHING
    assert decide(node(state, age_s=31), None, down, NOW).act is Act.FAIL


@pytest.mark.parametrize("state", [NodeState.PENDING, NodeState.BOOTING, NodeState.BOOTSTRAPPED])
def test_a_deadline_fails_a_node_that_never_became_usable(state):
    """Its machine runs, but its next word does not come in time."""
    running = machine(MachineState.RUNNING if state is not NodeState.PENDING else MachineState.PENDING)
    down = frozenset({"IDLE", "CLOUD", "POWERING_UP"})
    early, late = DEADLINE_S[state] - 1, DEADLINE_S[state] + 1

    assert decide(node(state, age_s=early), running, down, NOW).act is Act.NOTHING
    assert decide(node(state, age_s=late), running, down, NOW).act is Act.FAIL


def test_a_machine_that_does_not_end_is_stuck_and_still_counted():
    """After its deadline somebody is told; it goes OFF only when the cloud no longer has it."""
    late = node(NodeState.TERMINATING, age_s=DEADLINE_S[NodeState.TERMINATING] + 1)
    running, up = machine(MachineState.RUNNING), frozenset({"IDLE"})

    assert decide(late, running, up, NOW).state is NodeState.STUCK_TERMINATING
    assert decide(node(NodeState.STUCK_TERMINATING), running, up, NOW).act is Act.DESTROY
    assert decide(node(NodeState.STUCK_TERMINATING), None, up, NOW).state is NodeState.OFF
    assert decide(node(NodeState.STUCK_TERMINATING), Source.UNREAD, up, NOW).act is Act.NOTHING


def test_a_node_without_intent_stays_off():
    """Only Slurm's wish begins a node's life."""
    assert decide(node(NodeState.OFF), None, frozenset({"IDLE"}), NOW).act is Act.NOTHING
    assert decide(node(NodeState.OFF, wanted=True), None, Source.UNREAD, NOW).state is NodeState.INTENT


@pytest.mark.parametrize(
    ("states", "up"),
    [
        ({"IDLE", "CLOUD"}, True),
        ({"MIXED", "CLOUD", "COMPLETING"}, True),
        ({"ALLOCATED", "DRAIN"}, True),
        ({"IDLE", "CLOUD", "POWERED_DOWN"}, False),
        ({"ALLOCATED", "CLOUD", "POWERING_UP", "NOT_RESPONDING"}, False),
        ({"DOWN", "CLOUD"}, False),
        ({"UNKNOWN"}, False),
        ({"A_STATE_OF_NEXT_YEAR"}, False),
        (set(), False),
    ],
)
def test_only_states_that_slurm_uses_nodes_in_count_as_up(states, up):
    """A state that we do not know is not taken for a good one."""
    assert is_up(frozenset(states)) is up


def test_orphans_are_machines_of_no_open_node():
    """Of a node that is OFF, of an earlier generation, or of no node at all; the present machine is none."""
    mine = machine(MachineState.RUNNING)
    earlier = machine(MachineState.RUNNING, generation=2)
    stranger = machine(MachineState.RUNNING, name="small-99")
    listed = (mine, earlier, stranger)

    assert orphans(listed, {"small-1": node(NodeState.TERMINATING)}) == (earlier, stranger)
    assert orphans(listed, {"small-1": node(NodeState.OFF)}) == listed
