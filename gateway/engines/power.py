"""Power: what Slurm is told of an elastic node that failed, and of one whose machine is gone.

Invariant: a node that an operator set down stays down; what is cleared is our own doing, or Slurm's about a machine
that is gone by now.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.engines.engine import Engine, SchedulerNode
from gateway.errors import NotFound, SchedulerRefused
from gateway.slurm.states import GATEWAY_REASON

_CLEARED = (GATEWAY_REASON, "ResumeTimeout reached", "Not responding")
"""Beginnings of reasons that say no more than that a machine failed; the others are Slurm's own words."""

_OUT = frozenset({"DOWN", "DRAIN"})
_POWERED_DOWN = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})
_AT_REST = _POWERED_DOWN | {"POWERING_UP"}
"""Without a machine, or asked for again already."""


@dataclass(frozen=True)
class Power:
    """Node states of one cluster."""

    engine: Engine

    def failed(self, node: str, reason: str) -> None:
        """The node is lost: Slurm requeues its jobs and starts none on it.

        Down alone would not last: a late answer of the dead machine brings a node that is down back into service.
        An operator's reason stays, and so does their drain once there is another machine.
        """
        known = self._known(node)
        if known is not None and _foreign(known):
            self.engine.update_nodes([node], "DOWN", known.reason)
            return
        for state in ("DRAIN", "DOWN"):
            self.engine.update_nodes([node], state, _ours(reason))

    def requeue(self, node: str, job: int | None, reason: str) -> None:
        """The node is about to be lost: it takes no new job, and its job, if it still runs there, runs again elsewhere.

        A job that has ended must not be requeued: Slurm would run it once more.
        """
        known = self._known(node)
        if known is not None and not _foreign(known):
            self.engine.update_nodes([node], "DRAIN", _ours(reason))
        if job is None:
            return
        try:
            tasks = self.engine.job(job)
        except NotFound:
            return
        for task in tasks:
            if task.id == job and node in task.nodes and task.state in {"RUNNING", "SUSPENDED"}:
                self.engine.requeue(task.id)

    def drain(self, node: str, reason: str) -> None:
        """No more jobs there; what runs, may end. A drain that is there already is left as it is, whoever set it."""
        known = self._known(node)
        if known is not None and "DRAIN" not in known.states:
            self.engine.update_nodes([node], "DRAIN", _ours(reason))

    def gone(self, node: str) -> None:
        """The node's machine is gone: it has no job any more, and may be asked for again."""
        known = self._known(node)
        if known is None or _foreign(known):
            return
        out = known.states & _OUT
        if not out:
            if known.states & _AT_REST:
                return
            # Slurm must not wait for the end of a job on a machine that can tell it of none.
            self.failed(node, "its machine is gone")
        if not known.states & _POWERED_DOWN:
            # A node that was powering up is otherwise still believed to be on its way.
            self._set(node, "POWER_DOWN_FORCE")
        self._set(node, "RESUME")

    def _known(self, node: str) -> SchedulerNode | None:
        return next((one for one in self.engine.nodes() if one.name == node), None)

    def _set(self, node: str, state: str) -> None:
        try:
            self.engine.update_nodes([node], state)
        except SchedulerRefused:
            return


def _foreign(node: SchedulerNode) -> bool:
    """Whether somebody else wants it out of service."""
    return bool(node.states & _OUT) and not node.reason.startswith(_CLEARED)


def _ours(reason: str) -> str:
    return f"{GATEWAY_REASON}{(reason.splitlines() or [''])[0]}"
