"""Power: what Slurm is told of an elastic node that failed, and of one whose machine is gone.

Invariant: only a drain or down of ours, told by its reason, is ever cleared by us.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.engines.engine import Engine
from gateway.errors import SchedulerRefused

OURS = "gateway: "
"""How the reasons that we set begin."""


@dataclass(frozen=True)
class Power:
    """Node states of one cluster."""

    engine: Engine

    def failed(self, node: str, reason: str) -> None:
        """The node is lost: Slurm requeues its jobs and starts none on it."""
        self.engine.update_nodes([node], "DOWN", f"{OURS}{reason.splitlines()[0]}")

    def gone(self, node: str) -> None:
        """The node's machine is gone: if it was down for that, it may be asked for again."""
        known = next((one for one in self.engine.nodes() if one.name == node), None)
        if known is None or "DOWN" not in known.states or not known.reason.startswith(OURS):
            return
        # POWER_DOWN_FORCE first: a node that was powering up is otherwise still believed to be on its way.
        self._set(node, "POWER_DOWN_FORCE")
        self._set(node, "RESUME")

    def _set(self, node: str, state: str) -> None:
        try:
            self.engine.update_nodes([node], state)
        except SchedulerRefused:
            return
