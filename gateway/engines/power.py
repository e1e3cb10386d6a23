"""Power: what Slurm is told of an elastic node that failed, and of one whose machine is gone.

Invariant: a node that an operator set down stays down; what is cleared is our own doing, or Slurm's about a machine
that is gone by now.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.engines.engine import Engine
from gateway.errors import SchedulerRefused

OURS = "gateway: "
"""How the reasons that we set begin."""

_CLEARED = (OURS, "ResumeTimeout reached", "Not responding")
"""Beginnings of reasons that say no more than that a machine failed; the others are Slurm's own words."""

_POWERED_DOWN = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})


@dataclass(frozen=True)
class Power:
    """Node states of one cluster."""

    engine: Engine

    def failed(self, node: str, reason: str) -> None:
        """The node is lost: Slurm requeues its jobs and starts none on it."""
        self.engine.update_nodes([node], "DOWN", f"{OURS}{reason.splitlines()[0]}")

    def gone(self, node: str) -> None:
        """The node's machine is gone: it has no job any more, and may be asked for again."""
        known = next((one for one in self.engine.nodes() if one.name == node), None)
        if known is None:
            return
        down = "DOWN" in known.states
        if down and not known.reason.startswith(_CLEARED):
            return
        if not down and "POWERING_UP" in known.states:
            return  # asked for again already
        if not known.states & _POWERED_DOWN:
            # Also a node that is not down: a late answer of the dead machine makes Slurm believe in it once more.
            self._set(node, "POWER_DOWN_FORCE")
        if down:
            self._set(node, "RESUME")

    def _set(self, node: str, state: str) -> None:
        try:
            self.engine.update_nodes([node], state)
        except SchedulerRefused:
            return
