"""Drains: who took a node out of Slurm's service, told by how the reason begins.

Invariant: only what the gateway itself said, or Slurm of a machine that failed, is the gateway's to act upon; whatever
else the reason is, somebody wants the node as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from gateway.slurm.states import GATEWAY_REASON


class Drain(StrEnum):
    """Whose doing it is that a node takes no jobs."""

    NONE = "none"
    """Nobody's: it takes jobs."""
    OURS = "ours"
    SLURM = "slurm"
    """Slurm's own: its machine did not come, or does not answer."""
    FOREIGN = "foreign"
    """An operator's, or a program's that is none of ours."""


_SLURMS = ("ResumeTimeout reached", "Not responding")
_OUT = frozenset({"DOWN", "DRAIN", "FAIL"})


def drain_of(states: Collection[str], reason: str) -> Drain:
    """Who took the node out; an empty reason is nobody's that we know, hence foreign."""
    if not _OUT & frozenset(states):
        return Drain.NONE
    if reason.startswith(GATEWAY_REASON):
        return Drain.OURS
    return Drain.SLURM if reason.startswith(_SLURMS) else Drain.FOREIGN
