"""Sources: what the cloud and Slurm say of a node, and what stands there when one of them cannot be asked.

Invariant: no answer is never taken for an answer.
"""

from __future__ import annotations

from enum import Enum

from gateway.provisioning.node import Machine


class Source(Enum):
    """Stands for a source's answer when there is none."""

    UNREAD = "unread"


Seen = Machine | None | Source
SlurmStates = frozenset[str] | Source
"""Base state and flags; none at all: Slurm answered and has no such node."""

UNKNOWN: frozenset[str] = frozenset()

UP = frozenset({"IDLE", "ALLOCATED", "MIXED"})
_NOT_UP = frozenset({"POWERING_UP", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN", "NOT_RESPONDING"})
ASKED_FOR = frozenset({"POWERING_UP", "POWER_UP"})


def is_up(slurm: frozenset[str]) -> bool:
    """Whether Slurm has heard from a node and may start jobs on it."""
    return bool(slurm & UP) and not slurm & _NOT_UP


def gave_up(slurm: SlurmStates) -> bool:
    """Whether Slurm waits for the node no longer: it has it down and powered down, and has not asked again."""
    return isinstance(slurm, frozenset) and slurm >= {"DOWN", "POWERED_DOWN"} and not slurm & ASKED_FOR
