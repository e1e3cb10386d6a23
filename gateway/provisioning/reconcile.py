"""What to do next with a node, from the three sources of truth: our record, the cloud's listing, Slurm.

Invariant: pure and total. A source that could not be read is UNREAD: no node is failed and no machine ended unless
every answer of that source would have led to the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import DEADLINE_S, NodeState
from gateway.provisioning.node import Machine, MachineState
from gateway.slurm.states import NODE_STATES


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

_UNSEEN_GRACE_S = 30
"""A listing may lag behind a create call."""

_BACK_OFF_S = {NodeState.AMBIGUOUS: 2, NodeState.CAPACITY_BLOCKED: 10}
"""Seconds before a create call is tried again."""

Seen = Machine | None | Source
SlurmStates = frozenset[str] | Source


def decide(node: ElasticNode, machine: Seen, slurm: SlurmStates, now: datetime) -> Verdict:
    """The one verdict on ``node``; ``machine`` is None when the cloud's full listing does not have it.

    A word of Slurm's that we do not know may mean anything: its answer then counts as unread.
    """
    if isinstance(slurm, frozenset) and not slurm <= NODE_STATES:
        slurm = Source.UNREAD
    match node.state:
        case NodeState.OFF:
            return _move(NodeState.INTENT, "Slurm asked for it") if node.wanted else NOTHING
        case NodeState.INTENT | NodeState.REQUESTED | NodeState.AMBIGUOUS | NodeState.CAPACITY_BLOCKED:
            return Verdict(Act.LAUNCH) if _age(node, now) >= _BACK_OFF_S.get(node.state, 0) else NOTHING
        case NodeState.PENDING | NodeState.BOOTING:
            return _starting(node, machine, now)
        case NodeState.BOOTSTRAPPED:
            return _joining(node, machine, slurm, now)
        case NodeState.IDLE | NodeState.BUSY:
            return _usable(node, machine, slurm, now)
        case _:
            return _ending(node, machine, now)


def orphans(machines: Collection[Machine], nodes: Mapping[str, ElasticNode]) -> tuple[Machine, ...]:
    """Machines that carry our tags and belong to no open node of their generation, second ones of a node included."""
    return tuple(machine for machine in machines if not _owned(machine, nodes.get(machine.node)))


def is_up(slurm: frozenset[str]) -> bool:
    """Whether Slurm has heard from a node and may start jobs on it."""
    return bool(slurm & _UP) and not slurm & _NOT_UP


def _starting(node: ElasticNode, machine: Seen, now: datetime) -> Verdict:
    if isinstance(machine, Machine) and machine.no_room:
        return Verdict(Act.ELSEWHERE, machine.no_room)
    if (gone := _gone(node, machine, now)) is not None:
        return gone
    if machine is Source.UNREAD:
        return NOTHING
    if node.state is NodeState.PENDING and isinstance(machine, Machine) and machine.state is MachineState.RUNNING:
        return _move(NodeState.BOOTING, "its machine runs")
    return _overdue(node, now, "no word from it", machine.boot_s if isinstance(machine, Machine) else 0)


def _joining(node: ElasticNode, machine: Seen, slurm: SlurmStates, now: datetime) -> Verdict:
    if (gone := _gone(node, machine, now)) is not None:
        return gone
    if isinstance(slurm, frozenset) and is_up(slurm):
        return _move(_working(slurm), "slurmd registered")
    if machine is Source.UNREAD or slurm is Source.UNREAD:
        return NOTHING
    return _overdue(node, now, "slurmd did not register")


def _usable(node: ElasticNode, machine: Seen, slurm: SlurmStates, now: datetime) -> Verdict:
    if (gone := _gone(node, machine, now)) is not None:
        # Slurm hears of it: then the listing lacks it wrongly, and a running job is not to be lost to that. But of a
        # machine that stopped Slurm knows nothing for minutes (SlurmdTimeout).
        missed = machine is None and (isinstance(slurm, Source) or is_up(slurm))
        return NOTHING if missed else gone
    if isinstance(slurm, frozenset) and is_up(slurm) and _working(slurm) is not node.state:
        return _move(_working(slurm), "a job is on it" if slurm & _WORKING else "no job is on it")
    return NOTHING


def _ending(node: ElasticNode, machine: Seen, now: datetime) -> Verdict:
    if node.state not in {NodeState.TERMINATING, NodeState.STUCK_TERMINATING}:
        # DRAINING among them: Slurm calls SuspendProgram only for a node without a job.
        return Verdict(Act.DESTROY, node.reason)
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


def _overdue(node: ElasticNode, now: datetime, what: str, boot_s: float = 0) -> Verdict:
    """``boot_s``: what a machine that boots slowly may take in any state before it joins."""
    limit = max(DEADLINE_S[node.state], boot_s)
    return Verdict(Act.FAIL, f"{what} within {limit:g} s") if _age(node, now) > limit else NOTHING


def _owned(machine: Machine, node: ElasticNode | None) -> bool:
    if node is None or node.state is NodeState.OFF or node.generation != machine.generation:
        return False
    return node.machine_id in {None, machine.id}


def _working(slurm: frozenset[str]) -> NodeState:
    return NodeState.BUSY if slurm & _WORKING else NodeState.IDLE


def _move(state: NodeState, text: str) -> Verdict:
    return Verdict(Act.MOVE, text, state)


def _age(node: ElasticNode, now: datetime) -> float:
    return (now - node.since).total_seconds()
