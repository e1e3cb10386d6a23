"""The verdict on a node: one for every combination of record, cloud and Slurm, and none that destroys on silence."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.provisioning.drains import Drain, drain_of
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import DEADLINE_S, HUNG_S, MOVES, USABLE, Limits, NodeState, may_move
from gateway.provisioning.node import Machine, MachineState
from gateway.provisioning.reconcile import decide
from gateway.provisioning.sources import Source, is_up
from gateway.provisioning.strays import Stray, orphans, strays
from gateway.provisioning.verdict import Act, Verdict

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AGES_S = (0, 1, 5, 31, 121, 301, 601, 10**6)

BASES = ("IDLE", "ALLOCATED", "MIXED", "DOWN", "UNKNOWN", "FUTURE", "A_STATE_OF_NEXT_YEAR")
FLAGS = ("CLOUD", "POWERED_DOWN", "POWERING_UP", "POWERING_DOWN", "NOT_RESPONDING", "COMPLETING", "DRAIN")
SLURM = [frozenset({base, *flags}) for base in BASES for n in (0, 1, 2) for flags in itertools.combinations(FLAGS, n)]
MACHINES = [None, *MachineState]
DESTRUCTIVE = {Act.FAIL, Act.DESTROY}
NEED_A_WORD = {Act.FAIL, Act.DRAIN, Act.OUT_OF_SERVICE, Act.ELSEWHERE, Act.REQUEUE}
LEADS_TO = {Act.ELSEWHERE: NodeState.TERMINATING, Act.REQUEUE: NodeState.STAGING_OUT}
"""What follows of an act besides its own state."""


PREEMPTED = Machine("m-1", "small-1", 3, "t", MachineState.RUNNING, "10.0.0.2", preempted="in two minutes")
FULL = Machine("m-1", "small-1", 3, "t", MachineState.PENDING, None, no_room="no host left")


def node(state: NodeState, *, age_s: float = 0, generation: int = 3, wanted: bool = False) -> ElasticNode:
    """A node that has been in ``state`` for so long."""
    since = NOW - timedelta(seconds=age_s)
    return ElasticNode("small-1", generation, state, "small", since, machine_id="m-1", wanted=wanted)


def machine(state: MachineState | None, *, generation: int = 3, name: str = "small-1") -> Machine | None:
    """The node's machine in a state; None when the cloud has none."""
    return None if state is None else Machine("m-1", name, generation, "t", state, "10.0.0.2")


FEW_AGES_S = (1, 301, 10**6)
EVERY_NODE = [
    *(node(state, age_s=age) for state in NodeState for age in AGES_S),
    *(node(state, age_s=age, wanted=True) for state in NodeState for age in FEW_AGES_S),
    *(
        replace(
            node(state, age_s=age), wanted_at=NOW - timedelta(seconds=age), unheard_since=NOW - timedelta(seconds=age)
        )
        for state in NodeState
        for age in FEW_AGES_S
    ),
]
EVERY_MACHINE = [*map(machine, MACHINES), PREEMPTED, FULL, Source.UNREAD]
EVERY_ANSWER = [*SLURM, frozenset(), Source.UNREAD]


def test_i20_there_is_exactly_one_verdict_for_every_combination():
    """Each state, age, machine and set of Slurm flags gets a verdict, and a move is one that the table allows."""
    plain = itertools.product(EVERY_NODE, EVERY_MACHINE, EVERY_ANSWER, [Drain.NONE])
    # Only of a node in service it matters who took it out.
    used = [one for one in EVERY_NODE if one.state in USABLE]
    drained = itertools.product(used, EVERY_MACHINE, EVERY_ANSWER, set(Drain) - {Drain.NONE})
    for one, cloud, slurm, drain in itertools.chain(plain, drained):
        verdict = decide(one, cloud, slurm, NOW, drain=drain)

        assert isinstance(verdict, Verdict)
        assert (verdict.state is not None) == (verdict.act is Act.MOVE)
        if verdict.state is not None:
            assert may_move(one.state, verdict.state)
        if verdict.act in NEED_A_WORD:
            assert verdict.text or one.state is NodeState.PREEMPTING
        assert {LEADS_TO.get(verdict.act)} & {None, *MOVES[one.state]} or verdict.act is Act.FAIL
        assert verdict.act is not Act.FAIL or {NodeState.FAILED_BOOT, NodeState.TERMINATING} & MOVES[one.state]
        if slurm == frozenset():
            assert verdict.act not in {Act.FAIL, Act.OUT_OF_SERVICE}, "Slurm cannot be told of what it does not have"


def test_i11_nothing_is_failed_or_ended_because_the_cloud_was_silent():
    """Where the listing could not be read, an end comes only where every listing would have brought it."""
    for one, slurm in itertools.product(EVERY_NODE, [*SLURM, Source.UNREAD]):
        verdict = decide(one, Source.UNREAD, slurm, NOW)

        # What has no order has no machine: the cloud has no say in it.
        assert verdict.act is not Act.FAIL or one.state is NodeState.CAPACITY_BLOCKED
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
    overdue = Act.ELSEWHERE if state is NodeState.PENDING else Act.FAIL
    assert decide(node(state, age_s=late), running, down, NOW).act is overdue


def test_a_machine_that_does_not_end_is_stuck_and_still_counted():
    """After its deadline somebody is told; it goes OFF only when the cloud no longer has it."""
    late = node(NodeState.TERMINATING, age_s=DEADLINE_S[NodeState.TERMINATING] + 1)
    running, up = machine(MachineState.RUNNING), frozenset({"IDLE"})

    assert decide(late, running, up, NOW).state is NodeState.STUCK_TERMINATING
    assert decide(node(NodeState.STUCK_TERMINATING), running, up, NOW).act is Act.DESTROY
    assert decide(node(NodeState.STUCK_TERMINATING), None, up, NOW).state is NodeState.OFF
    assert decide(node(NodeState.STUCK_TERMINATING), Source.UNREAD, up, NOW).act is Act.NOTHING


def test_a_node_whose_last_machine_does_not_end_keeps_no_job_waiting():
    """Asked for again in vain for as long as a gang is waited for, Slurm is told, so that the job goes elsewhere."""
    running, waits = machine(MachineState.RUNNING), frozenset({"ALLOCATED", "POWERING_UP"})
    for state, age_s in ((NodeState.TERMINATING, 310), (NodeState.STUCK_TERMINATING, 5)):
        asked = replace(node(state, age_s=age_s, wanted=True), wanted_at=NOW - timedelta(seconds=301))

        assert decide(asked, running, waits, NOW).act is Act.OUT_OF_SERVICE
        assert decide(asked, None, waits, NOW).state is NodeState.OFF
        lately = replace(asked, wanted_at=NOW - timedelta(seconds=299))
        assert decide(lately, running, waits, NOW).act is Act.DESTROY
    just_ended = replace(node(NodeState.TERMINATING, wanted=True), wanted_at=NOW - timedelta(seconds=900))
    assert decide(just_ended, running, waits, NOW).act is Act.DESTROY


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
    earlier = replace(machine(MachineState.RUNNING, generation=2), id="m-2")
    stranger = replace(machine(MachineState.RUNNING, name="small-99"), id="m-3")
    listed = (mine, earlier, stranger)

    assert orphans(listed, {"small-1": node(NodeState.TERMINATING)}) == (earlier, stranger)
    assert orphans(listed, {"small-1": node(NodeState.OFF)}) == listed


def up_since(state: NodeState, unheard_s: float | None = None) -> ElasticNode:
    """A node in service for long; Slurm has not heard from it for so long."""
    since = None if unheard_s is None else NOW - timedelta(seconds=unheard_s)
    return replace(node(state, age_s=10**6), unheard_since=since)


RUNNING = machine(MachineState.RUNNING)
SILENT = frozenset({"ALLOCATED", "CLOUD", "NOT_RESPONDING"})


def test_a_hung_node_is_waited_for_and_then_replaced():
    """Its machine runs, and Slurm does not hear from it: noted, waited for, failed; or forgotten when it is back."""
    assert decide(up_since(NodeState.BUSY), RUNNING, SILENT, NOW).act is Act.UNHEARD
    assert decide(up_since(NodeState.BUSY, HUNG_S - 1), RUNNING, SILENT, NOW).act is Act.NOTHING
    assert decide(up_since(NodeState.BUSY, HUNG_S + 1), RUNNING, SILENT, NOW).act is Act.FAIL
    assert decide(up_since(NodeState.BUSY, HUNG_S + 1), RUNNING, frozenset({"ALLOCATED"}), NOW).act is Act.HEARD


@pytest.mark.parametrize("state", sorted(USABLE))
def test_i23_what_an_operator_took_out_of_service_is_left_alone(state):
    """However long Slurm does not use it; and that it is an operator's, the reason tells."""
    for slurm in ({"DOWN"}, {"DOWN", "DRAIN", "NOT_RESPONDING"}, {"IDLE", "DRAIN", "NOT_RESPONDING"}):
        drain = drain_of(slurm, "broken fan")
        assert drain is Drain.FOREIGN
        verdict = decide(up_since(state, 10**6), RUNNING, frozenset(slurm), NOW, drain=drain)
        assert verdict.act is Act.NOTHING


@pytest.mark.parametrize(
    ("reason", "whose"),
    [
        ("gateway: no room", Drain.OURS),
        ("ResumeTimeout reached [slurm@2026-01-02]", Drain.SLURM),
        ("Not responding", Drain.SLURM),
        ("the gateway: it burns", Drain.FOREIGN),
        ("", Drain.FOREIGN),
    ],
)
def test_i23_whose_a_drain_is_its_reason_tells_by_how_it_begins(reason, whose):
    """Nothing else; a node in service has none."""
    assert drain_of({"IDLE", "DRAIN"}, reason) is whose
    assert drain_of({"IDLE", "CLOUD"}, reason) is Drain.NONE


def test_i14_a_preempted_job_is_requeued_at_the_next_look_and_its_node_ends_with_its_epilog():
    """From the notice to the requeue are two looks; then the outputs, as long as the machine lives."""
    assert decide(up_since(NodeState.BUSY), PREEMPTED, frozenset({"ALLOCATED"}), NOW).state is NodeState.PREEMPTING
    assert decide(up_since(NodeState.PREEMPTING), PREEMPTED, Source.UNREAD, NOW).act is Act.REQUEUE
    staging = node(NodeState.STAGING_OUT, age_s=60)
    assert decide(staging, PREEMPTED, frozenset({"IDLE", "DRAIN", "COMPLETING"}), NOW).act is Act.NOTHING
    assert decide(staging, PREEMPTED, frozenset({"IDLE", "DRAIN"}), NOW).act is Act.DESTROY


@pytest.mark.parametrize("state", [NodeState.DRAINING, NodeState.STAGING_OUT])
def test_i08_a_node_with_a_job_on_it_is_not_ended_before_its_deadline(state):
    """Nor while Slurm cannot be asked whether there is one."""
    working = frozenset({"MIXED", "DRAIN"})
    for slurm in (working, Source.UNREAD):
        assert decide(node(state, age_s=DEADLINE_S[NodeState.STAGING_OUT] - 1), RUNNING, slurm, NOW).act is Act.NOTHING
        assert decide(node(state, age_s=DEADLINE_S[NodeState.STAGING_OUT] + 1), RUNNING, slurm, NOW).act is Act.DESTROY


@pytest.mark.parametrize("state", [NodeState.DRAINING, NodeState.STAGING_OUT])
@pytest.mark.parametrize("base", ["IDLE", "ALLOCATED"])
def test_no_job_begins_on_a_node_that_slurm_forgot_to_have_given_back(state, base):
    """A slurmctld that died takes it for one in service: it is drained before it is ended, and its job may end."""
    assert decide(node(state), RUNNING, frozenset({base, "CLOUD"}), NOW).act is Act.DRAIN
    after = Act.DESTROY if base == "IDLE" else Act.NOTHING
    assert decide(node(state), RUNNING, frozenset({base, "CLOUD", "DRAIN"}), NOW).act is after
    assert decide(node(state), RUNNING, frozenset({base, "CLOUD", "POWERING_DOWN"}), NOW).act is Act.DESTROY


def test_a_quarantined_node_is_out_of_slurm_at_once_and_ends_after_an_hour():
    """So that somebody may look at it; sooner when Slurm wants the node again."""
    waited_for = frozenset({"ALLOCATED", "POWERING_UP"})
    assert decide(node(NodeState.QUARANTINED), RUNNING, waited_for, NOW).act is Act.OUT_OF_SERVICE
    assert decide(node(NodeState.QUARANTINED, age_s=3599), RUNNING, frozenset({"DOWN"}), NOW).act is Act.NOTHING
    assert decide(node(NodeState.QUARANTINED, age_s=3601), RUNNING, frozenset({"DOWN"}), NOW).act is Act.DESTROY
    assert decide(node(NodeState.QUARANTINED, wanted=True), RUNNING, Source.UNREAD, NOW).act is Act.DESTROY


def test_a_lost_resume_request_is_made_good():
    """Slurm waits for a node that nobody was asked for."""
    assert decide(node(NodeState.OFF), None, frozenset({"IDLE", "POWERING_UP"}), NOW).state is NodeState.INTENT
    assert decide(node(NodeState.OFF), None, frozenset({"DOWN", "POWERING_UP"}), NOW).act is Act.NOTHING


def test_a_lost_suspend_request_is_made_good():
    """Slurm has powered down what we have in service."""
    for state in USABLE:
        verdict = decide(up_since(state), RUNNING, frozenset({"IDLE", "POWERED_DOWN"}), NOW)
        assert verdict.state is NodeState.DRAINING


@pytest.mark.parametrize("state", [NodeState.PENDING, NodeState.BOOTING, NodeState.BOOTSTRAPPED, NodeState.AMBIGUOUS])
def test_a_node_that_slurm_gave_up_is_ended(state):
    """Down and powered down, and not asked for again (25.11 says it without NOT_RESPONDING)."""
    gave_up = frozenset({"DOWN", "CLOUD", "POWERED_DOWN"})
    assert decide(node(state), RUNNING, gave_up, NOW).act is Act.DESTROY
    assert decide(node(state), RUNNING, gave_up | {"POWERING_UP"}, NOW).act is not Act.DESTROY
    assert decide(node(NodeState.INTENT), None, gave_up, NOW).state is NodeState.OFF


def test_a_node_that_slurm_no_longer_has_ends_after_a_while():
    """Out of slurm.conf: first it may be a reconfiguration."""
    assert decide(up_since(NodeState.IDLE), RUNNING, frozenset(), NOW).act is Act.UNHEARD
    assert decide(up_since(NodeState.IDLE, HUNG_S + 1), RUNNING, frozenset(), NOW).state is NodeState.DRAINING


def test_a_node_without_room_is_waited_for_as_long_as_the_settings_say():
    """From when Slurm asked, not from the last refusal; then Slurm is told why."""
    limits = Limits(capacity_wait_s=100)
    blocked = replace(node(NodeState.CAPACITY_BLOCKED, age_s=20), reason="a is full")
    early, late = (replace(blocked, wanted_at=NOW - timedelta(seconds=each)) for each in (99, 101))

    assert decide(early, None, Source.UNREAD, NOW, limits=limits).act is Act.LAUNCH
    assert decide(late, None, Source.UNREAD, NOW, limits=limits) == Verdict(Act.FAIL, "no room within 100 s: a is full")


@pytest.mark.parametrize("skew_s", [-300, 300])
def test_i24_a_clock_that_is_five_minutes_off_ends_no_node_in_service(skew_s):
    """Nor one whose lease, written by another clock, seems over."""
    for state in USABLE:
        one = replace(up_since(state), lease_until=NOW)
        for slurm in filter(is_up, SLURM):
            assert decide(one, RUNNING, slurm, NOW + timedelta(seconds=skew_s)).act not in DESTRUCTIVE


def test_of_two_machines_of_one_node_the_present_one_is_kept():
    """That which the record names, else always the same of them; a zombie's node is OFF, an orphan has none."""
    one, two = (replace(RUNNING, id=name) for name in ("m-1", "m-2"))
    nameless = replace(node(NodeState.AMBIGUOUS), machine_id=None)

    assert strays((two, one), {"small-1": replace(node(NodeState.IDLE), machine_id="m-2")}) == ((one, Stray.DUPLICATE),)
    assert strays((two, one), {"small-1": nameless}) == ((two, Stray.DUPLICATE),)
    assert strays((one,), {"small-1": node(NodeState.OFF)}) == ((one, Stray.ZOMBIE),)
    assert strays((one,), {}) == ((one, Stray.ORPHAN),)
    refused = replace(nameless, state=NodeState.CAPACITY_BLOCKED)
    assert strays((one,), {"small-1": refused}) == ((one, Stray.DUPLICATE),), "all its orders were refused"


def test_a_machine_that_was_made_with_others_is_known_by_its_number():
    """It has no name of a node; another number, or another gang, is nobody's."""
    mine = replace(node(NodeState.BOOTING), gang="g" * 32, gang_number=1, machine_id=None)
    made = [
        Machine(f"m-{number}", "", 0, "t", MachineState.RUNNING, None, gang="g" * 32, number=number)
        for number in (0, 1)
    ]

    assert strays(made, {"small-1": mine}) == ((made[0], Stray.ORPHAN),)


def test_a_node_that_is_asked_for_again_while_it_is_given_back_ends_at_once():
    """Slurm has a job for it and hears its old slurmd, but the job waits for another machine."""
    given_back = node(NodeState.DRAINING, age_s=1, wanted=True)
    assert decide(given_back, machine(MachineState.RUNNING), frozenset({"ALLOCATED"}), NOW).act is Act.DESTROY
    staging = node(NodeState.STAGING_OUT, age_s=1, wanted=True)
    drained = frozenset({"ALLOCATED", "DRAIN"})
    assert decide(staging, machine(MachineState.RUNNING), drained, NOW).act is Act.NOTHING
