"""What to do next with a node, from the three sources of truth: our record, the cloud's listing, Slurm.

    Slurm            record                      cloud           verdict
    any              OFF, wanted                 any             a new intent
    POWERING_UP      OFF                         any             a new intent: its request was lost
    any              OFF                         ours, twice     zombie: ended (``strays``)
    any              none, or another generation ours, twice     orphan, duplicate: ended (``strays``)
    any              INTENT to CAPACITY_BLOCKED  any             order it; blocked for too long: fail it
    DOWN+POWERED_DOWN, not asked for again  … to BOOTSTRAPPED    Slurm gave up: end it
    any              PENDING to BOOTSTRAPPED     none, stopped   fail it; overdue: fail it
    up               IDLE, BUSY                  none            wait: Slurm hears from it, so the listing lacks it
    not up           IDLE, BUSY                  none            ghost: fail it
    any              IDLE, BUSY                  stopped         fail it
    any              IDLE, BUSY                  preempted       PREEMPTING: drain it, requeue its job, stage out, end
    not up           IDLE, BUSY                  running         hung: wait, then fail it; somebody's drain: leave it
    POWERED_DOWN     IDLE, BUSY                  any             its suspend was lost: let it go
    not known        IDLE, BUSY                  any             out of slurm.conf: wait, then let it go
    working          DRAINING, STAGING_OUT       running         wait until the job's end, or the deadline
    any              QUARANTINED                 any             Slurm is told; ended after its hour, or if asked for
    any              TERMINATING                 any             end it again; stuck: alarm; gone: OFF
    unread           any                         any             nothing is ended that another answer would have saved

Invariant: pure and total. A source that could not be read is UNREAD: no node is failed and no machine ended unless
every answer of that source would have led to the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum

from gateway.provisioning.drains import Drain
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import DEADLINE_S, HUNG_S, Limits, NodeState
from gateway.provisioning.node import Machine, MachineState
from gateway.provisioning.strays import orphans
from gateway.slurm.states import NODE_STATES

__all__ = ["NOTHING", "Act", "Seen", "SlurmStates", "Source", "Verdict", "decide", "is_up", "orphans"]


class Source(Enum):
    """Stands for a source's answer when there is none."""

    UNREAD = "unread"


class Act(StrEnum):
    """What a verdict asks for."""

    NOTHING = "nothing"
    MOVE = "move"
    LAUNCH = "launch"
    """Create the machine, or find the one that an earlier try made."""
    FAIL = "fail"
    """Tell Slurm that the node is down, then end its machine."""
    ELSEWHERE = "elsewhere"
    """Its cloud took the order and then had no room: end what there is and ask another; Slurm need not know."""
    DESTROY = "destroy"
    REQUEUE = "requeue"
    """Drain the node and put its job back into the queue; what it has done until now is staged out."""
    OUT_OF_SERVICE = "out-of-service"
    """Tell Slurm that the node is down; its machine stays."""
    UNHEARD = "unheard"
    """Note since when Slurm does not hear from it."""
    HEARD = "heard"
    """Forget that."""


@dataclass(frozen=True)
class Verdict:
    """One action, and for a move the state it leads to."""

    act: Act
    text: str = ""
    state: NodeState | None = None


NOTHING = Verdict(Act.NOTHING)

_UP = frozenset({"IDLE", "ALLOCATED", "MIXED"})
_NOT_UP = frozenset({"POWERING_UP", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN", "NOT_RESPONDING"})
_WORKING = frozenset({"ALLOCATED", "MIXED", "COMPLETING"})
_ASKED_FOR = frozenset({"POWERING_UP", "POWER_UP"})

_UNSEEN_GRACE_S = 30
"""A listing may lag behind a create call."""

BACK_OFF_S = {NodeState.AMBIGUOUS: 2, NodeState.CAPACITY_BLOCKED: 10}
"""Seconds before a create call is tried again."""

Seen = Machine | None | Source
SlurmStates = frozenset[str] | Source
"""Base state and flags; none at all: Slurm answered and has no such node."""

UNKNOWN: frozenset[str] = frozenset()


def decide(
    node: ElasticNode,
    machine: Seen,
    slurm: SlurmStates,
    now: datetime,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    drain: Drain = Drain.NONE,
) -> Verdict:
    """The one verdict on ``node``; ``machine`` is None when the cloud's full listing does not have it.

    ``drain``: whose doing it is if Slurm has the node down or drained. A word of Slurm's that we do not know may mean
    anything: its answer then counts as unread.
    """
    if isinstance(slurm, frozenset) and not slurm <= NODE_STATES:
        slurm = Source.UNREAD
    verdict = _decide(node, machine, slurm, now, limits, drain)
    if slurm == UNKNOWN and verdict.act in {Act.FAIL, Act.OUT_OF_SERVICE}:
        # Of a node that it does not have Slurm cannot be told anything.
        return Verdict(Act.DESTROY, verdict.text)
    return verdict


def is_up(slurm: frozenset[str]) -> bool:
    """Whether Slurm has heard from a node and may start jobs on it."""
    return bool(slurm & _UP) and not slurm & _NOT_UP


def waited_out(node: ElasticNode, now: datetime, limits: Limits) -> str:
    """Why a node that no supply has room for is waited for no longer; "" while it is."""
    if node.state is not NodeState.CAPACITY_BLOCKED or node.wanted_at is None:
        return ""
    if (now - node.wanted_at).total_seconds() <= limits.capacity_wait_s:
        return ""
    return f"no room within {limits.capacity_wait_s:.0f} s: {node.reason}"


def gave_up(slurm: SlurmStates) -> bool:
    """Whether Slurm waits for the node no longer: it has it down and powered down, and has not asked again."""
    return isinstance(slurm, frozenset) and slurm >= {"DOWN", "POWERED_DOWN"} and not slurm & _ASKED_FOR


def due(node: ElasticNode, now: datetime) -> bool:
    """Whether a create call may be tried, or tried again."""
    return _age(node, now) >= BACK_OFF_S.get(node.state, 0)


def _decide(
    node: ElasticNode, machine: Seen, slurm: SlurmStates, now: datetime, limits: Limits, drain: Drain
) -> Verdict:
    match node.state:
        case NodeState.OFF:
            return _off(node, slurm)
        case NodeState.INTENT | NodeState.REQUESTED | NodeState.AMBIGUOUS | NodeState.CAPACITY_BLOCKED:
            return _given_up(node, slurm) or _ordering(node, now, limits)
        case NodeState.PENDING | NodeState.BOOTING:
            return _given_up(node, slurm) or _starting(node, machine, now)
        case NodeState.BOOTSTRAPPED:
            return _given_up(node, slurm) or _joining(node, machine, slurm, now)
        case NodeState.IDLE | NodeState.BUSY:
            return _usable(node, machine, slurm, now, drain)
        case NodeState.PREEMPTING:
            return _gone(node, machine, now) or Verdict(Act.REQUEUE, node.reason or "preempted")
        case NodeState.DRAINING | NodeState.STAGING_OUT:
            return _leaving(node, machine, slurm, now)
        case NodeState.QUARANTINED:
            return _quarantined(node, slurm, now)
        case NodeState.FAILED_BOOT:
            return Verdict(Act.DESTROY, node.reason)
        case NodeState.TERMINATING | NodeState.STUCK_TERMINATING:
            return _ending(node, machine, now)


def _off(node: ElasticNode, slurm: SlurmStates) -> Verdict:
    if node.wanted:
        return _move(NodeState.INTENT, "Slurm asked for it")
    if isinstance(slurm, frozenset) and "POWERING_UP" in slurm and "DOWN" not in slurm:
        return _move(NodeState.INTENT, "Slurm waits for it, though its request was lost")
    return NOTHING


def _given_up(node: ElasticNode, slurm: SlurmStates) -> Verdict | None:
    if not gave_up(slurm):
        return None
    text = "Slurm gave up waiting for it"
    return _move(NodeState.OFF, text) if node.state is NodeState.INTENT else Verdict(Act.DESTROY, text)


def _ordering(node: ElasticNode, now: datetime, limits: Limits) -> Verdict:
    if text := waited_out(node, now, limits):
        return Verdict(Act.FAIL, text)
    return Verdict(Act.LAUNCH) if due(node, now) else NOTHING


def _starting(node: ElasticNode, machine: Seen, now: datetime) -> Verdict:
    if isinstance(machine, Machine) and machine.no_room:
        return Verdict(Act.ELSEWHERE, machine.no_room)
    if (gone := _gone(node, machine, now)) is not None:
        return gone
    if machine is Source.UNREAD:
        return NOTHING
    if node.state is NodeState.PENDING and isinstance(machine, Machine) and machine.state is MachineState.RUNNING:
        return _move(NodeState.BOOTING, "its machine runs")
    return _overdue(node, now, "no word from it")


def _joining(node: ElasticNode, machine: Seen, slurm: SlurmStates, now: datetime) -> Verdict:
    if (gone := _gone(node, machine, now)) is not None:
        return gone
    if isinstance(slurm, frozenset) and is_up(slurm):
        return _move(_working(slurm), "slurmd registered")
    if machine is Source.UNREAD or slurm is Source.UNREAD:
        return NOTHING
    return _overdue(node, now, "slurmd did not register")


def _usable(node: ElasticNode, machine: Seen, slurm: SlurmStates, now: datetime, drain: Drain) -> Verdict:
    if (gone := _gone(node, machine, now)) is not None:
        # Slurm hears of it: then the listing lacks it wrongly, and a running job is not to be lost to that. But of a
        # machine that stopped Slurm knows nothing for minutes (SlurmdTimeout).
        missed = machine is None and (isinstance(slurm, Source) or is_up(slurm))
        return NOTHING if missed else gone
    if isinstance(machine, Machine) and machine.preempted:
        return _move(NodeState.PREEMPTING, f"preempted: {machine.preempted}")
    if isinstance(slurm, Source):
        return NOTHING
    if "POWERED_DOWN" in slurm and not slurm & _ASKED_FOR:
        return _move(NodeState.DRAINING, "Slurm has powered it down")
    if not is_up(slurm):
        return _unheard(node, machine, slurm, now, drain)
    if node.unheard_since is not None:
        return Verdict(Act.HEARD)
    if _working(slurm) is not node.state:
        return _move(_working(slurm), "a job is on it" if slurm & _WORKING else "no job is on it")
    return NOTHING


def _unheard(node: ElasticNode, machine: Seen, slurm: frozenset[str], now: datetime, drain: Drain) -> Verdict:
    """Its machine runs, but Slurm cannot use it."""
    if node.unheard_since is None:
        return Verdict(Act.UNHEARD)
    if (now - node.unheard_since).total_seconds() <= HUNG_S:
        return NOTHING
    if slurm == UNKNOWN:
        return _move(NodeState.DRAINING, "Slurm no longer knows it")
    if drain is Drain.FOREIGN or machine is Source.UNREAD:
        return NOTHING
    return Verdict(Act.FAIL, f"Slurm has not heard from it for {HUNG_S} s")


def _leaving(node: ElasticNode, machine: Seen, slurm: SlurmStates, now: datetime) -> Verdict:
    """Of a node that Slurm gave back no job is left; else the job's end, and that of its epilog, is waited for."""
    over = _age(node, now) > DEADLINE_S[NodeState.STAGING_OUT]
    lost = machine is None or (isinstance(machine, Machine) and machine.state is not MachineState.RUNNING)
    if over or (isinstance(slurm, frozenset) and (lost or not (is_up(slurm) and slurm & _WORKING))):
        return Verdict(Act.DESTROY, node.reason)
    return NOTHING


def _quarantined(node: ElasticNode, slurm: SlurmStates, now: datetime) -> Verdict:
    if node.wanted or _age(node, now) > DEADLINE_S[NodeState.QUARANTINED]:
        return Verdict(Act.DESTROY, node.reason)
    if isinstance(slurm, frozenset) and slurm & (_UP | _ASKED_FOR) and "DOWN" not in slurm:
        return Verdict(Act.OUT_OF_SERVICE, node.reason or "it has less than its size promised")
    return NOTHING


def _ending(node: ElasticNode, machine: Seen, now: datetime) -> Verdict:
    if machine is None:
        return _move(NodeState.OFF, "its machine is gone")
    if node.state is NodeState.TERMINATING and _age(node, now) > DEADLINE_S[NodeState.TERMINATING]:
        return _move(NodeState.STUCK_TERMINATING, "its machine does not end; it still counts")
    return Verdict(Act.DESTROY, node.reason) if isinstance(machine, Machine) else NOTHING


def _gone(node: ElasticNode, machine: Seen, now: datetime) -> Verdict | None:
    if isinstance(machine, Machine) and machine.state in {MachineState.ERROR, MachineState.STOPPED}:
        return Verdict(Act.FAIL, f"its machine is {machine.state}")
    if machine is None and _age(node, now) > _UNSEEN_GRACE_S:
        return Verdict(Act.FAIL, "its machine is gone")
    return None


def _overdue(node: ElasticNode, now: datetime, what: str) -> Verdict:
    limit = DEADLINE_S[node.state]
    return Verdict(Act.FAIL, f"{what} within {limit} s") if _age(node, now) > limit else NOTHING


def _working(slurm: frozenset[str]) -> NodeState:
    return NodeState.BUSY if slurm & _WORKING else NodeState.IDLE


def _move(state: NodeState, text: str) -> Verdict:
    return Verdict(Act.MOVE, text, state)


def _age(node: ElasticNode, now: datetime) -> float:
    return (now - node.since).total_seconds()
