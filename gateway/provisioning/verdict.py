"""Verdict: the one thing that is to be done next with a node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.provisioning.lifecycle import NodeState


class Act(StrEnum):
    """What a verdict asks for."""

    NOTHING = "nothing"
    MOVE = "move"
    LAUNCH = "launch"
    """Create the machine, or find the one that an earlier try made."""
    FAIL = "fail"
    """Tell Slurm that the node is down, then end its machine."""
    ELSEWHERE = "elsewhere"
    """Its cloud took the order and had no room, or made no machine in time: end what there is and ask another.

    Slurm need not know.
    """
    DESTROY = "destroy"
    REQUEUE = "requeue"
    """Drain the node and put its job back into the queue; what it has done until now is staged out."""
    DRAIN = "drain"
    """Tell Slurm to start no more jobs on it."""
    OUT_OF_SERVICE = "out-of-service"
    """Tell Slurm that the node is down, so that it waits for it no longer; its machine stays as it is."""
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
