"""The states of an elastic node, the only table of legal moves between them, and how long each may last.

Invariant: a node that may cost money is never in a final state; only a machine confirmed gone brings a node to OFF.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NodeState(StrEnum):
    """Where a node is in its life."""

    OFF = "off"
    """No intent, no machine; Slurm has it powered down."""
    INTENT = "intent"
    """Slurm asked for it: a durable row, a generation, a token."""
    CAPACITY_BLOCKED = "capacity-blocked"
    """No supply of its size had room; they are asked again after a while."""
    REQUESTED = "requested"
    """The create call is on its way."""
    AMBIGUOUS = "ambiguous"
    """The call's outcome is unknown; it is looked up by token before anything else is tried."""
    PENDING = "pending"
    """The cloud gave a machine id."""
    BOOTING = "booting"
    """The machine runs; no word from it yet."""
    BOOTSTRAPPED = "bootstrapped"
    """It traded its one-time token for its keys."""
    IDLE = "idle"
    """Slurm can use it."""
    BUSY = "busy"
    """A job is on it."""
    PREEMPTING = "preempting"
    """The cloud announced that it takes it back."""
    DRAINING = "draining"
    """No new work; what runs, ends."""
    STAGING_OUT = "staging-out"
    """Its job ended; outputs are not yet all in the store."""
    FAILED_BOOT = "failed-boot"
    """It never became usable."""
    QUARANTINED = "quarantined"
    """It has less than its size promised."""
    TERMINATING = "terminating"
    """Its end was asked for."""
    STUCK_TERMINATING = "stuck-terminating"
    """It does not end; it still counts and somebody is told."""


def _or_end(*states: NodeState) -> frozenset[NodeState]:
    """Of a node that may have a machine: it can always be told to end."""
    return frozenset({*states, NodeState.TERMINATING})


MOVES: dict[NodeState, frozenset[NodeState]] = {
    NodeState.OFF: frozenset({NodeState.INTENT}),
    NodeState.INTENT: frozenset({NodeState.REQUESTED, NodeState.CAPACITY_BLOCKED, NodeState.OFF}),
    # A node may trade its token before the reply to our create call, or before the listing tells that its machine runs.
    NodeState.REQUESTED: _or_end(
        NodeState.PENDING,
        NodeState.BOOTSTRAPPED,
        NodeState.AMBIGUOUS,
        NodeState.CAPACITY_BLOCKED,
        NodeState.FAILED_BOOT,
    ),
    NodeState.AMBIGUOUS: _or_end(NodeState.PENDING, NodeState.BOOTSTRAPPED, NodeState.REQUESTED, NodeState.FAILED_BOOT),
    NodeState.CAPACITY_BLOCKED: _or_end(NodeState.REQUESTED, NodeState.CAPACITY_BLOCKED, NodeState.FAILED_BOOT),
    NodeState.PENDING: _or_end(NodeState.BOOTING, NodeState.BOOTSTRAPPED, NodeState.FAILED_BOOT),
    NodeState.BOOTING: _or_end(NodeState.BOOTSTRAPPED, NodeState.FAILED_BOOT),
    NodeState.BOOTSTRAPPED: _or_end(NodeState.IDLE, NodeState.BUSY, NodeState.QUARANTINED, NodeState.FAILED_BOOT),
    NodeState.IDLE: _or_end(NodeState.BUSY, NodeState.PREEMPTING, NodeState.DRAINING, NodeState.QUARANTINED),
    NodeState.BUSY: _or_end(NodeState.IDLE, NodeState.PREEMPTING, NodeState.DRAINING, NodeState.STAGING_OUT),
    NodeState.PREEMPTING: _or_end(NodeState.STAGING_OUT),
    NodeState.DRAINING: _or_end(NodeState.STAGING_OUT),
    NodeState.STAGING_OUT: _or_end(NodeState.IDLE),
    NodeState.FAILED_BOOT: _or_end(),
    NodeState.QUARANTINED: _or_end(),
    NodeState.TERMINATING: frozenset({NodeState.STUCK_TERMINATING, NodeState.OFF}),
    NodeState.STUCK_TERMINATING: frozenset({NodeState.OFF}),
}

USABLE = frozenset({NodeState.IDLE, NodeState.BUSY})
"""Slurm can run, or runs, a job on it."""


BEFORE_JOIN = frozenset({NodeState.REQUESTED, NodeState.AMBIGUOUS, NodeState.PENDING, NodeState.BOOTING})
"""States in which a node may trade its one-time token; the reply to our create call may still be under way."""

COMING = BEFORE_JOIN | {NodeState.INTENT, NodeState.CAPACITY_BLOCKED, NodeState.BOOTSTRAPPED}
"""Slurm asked for it, and it is on its way."""

DEADLINE_S: dict[NodeState, int] = {
    NodeState.PENDING: 300,
    NodeState.BOOTING: 1200,
    NodeState.BOOTSTRAPPED: 180,
    NodeState.STAGING_OUT: 1800,
    NodeState.QUARANTINED: 3600,
    NodeState.TERMINATING: 600,
}
"""Seconds after which a state that should have been left is acted upon.

BOOTING: Slurm's own ResumeTimeout is the shorter limit by default; a translated machine or one of metal may need more.
"""


AMBIGUOUS_ALARM_S = 120
"""Seconds after which an order whose outcome is not known is somebody's to look at; it is still given nowhere else."""

HUNG_S = 300
"""So long Slurm may not hear from a node whose machine runs: its own SlurmdTimeout."""


@dataclass(frozen=True)
class Limits:
    """How long what may take, in seconds, and how many nodes there may be at every instant; None: no limit."""

    gang_wait_s: float = 300
    """For all machines of a gang to run, once they were ordered."""
    capacity_wait_s: float = 900
    """For some supply to have room, once Slurm asked for the node."""
    max_nodes: int | None = None
    max_nodes_per_account: int | None = None


def may_move(old: NodeState, new: NodeState) -> bool:
    """Whether a node may go from ``old`` to ``new``."""
    return new in MOVES[old]
