"""NodeAdmin: what administrators do with nodes, over a session.

Invariant: a call that changes something is signed; the answer is the node as the gateway knows it then.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from gateway import wire
from gateway.client.session import Session


@dataclass(frozen=True)
class NodeAdmin:
    """Boots, drains and ends nodes. Every call raises Refused for who is no administrator."""

    session: Session

    def create(self, name: str, count: int = 1) -> tuple[wire.NodeView, ...]:
        """Have one node, or ``count`` of a size, booted. Raises NotFound, Conflict."""
        body = wire.NodeCreateRequest(name=name, count=count)
        return self.session.post("/nodes", body, tuple[wire.NodeView, ...])

    def drain(self, name: str, reason: str) -> wire.NodeView:
        """Let no more jobs start there."""
        return self.session.post(_of(name, "drain"), wire.NodeDrainRequest(reason=reason), wire.NodeView)

    def resume(self, name: str) -> wire.NodeView:
        """Take a drain back. Raises SchedulerRefused if there is none."""
        return self.session.post(_of(name, "resume"), None, wire.NodeView)

    def destroy(self, name: str, *, now: bool = False) -> wire.NodeView:
        """End its machine, ``now`` or when its jobs have ended. Raises Conflict if there is none."""
        return self.session.post(_of(name, "destroy"), wire.NodeDestroyRequest(now=now), wire.NodeView)

    def console(self, name: str) -> wire.ConsoleView:
        """The end of its console. Raises NotFound if it has no machine."""
        return self.session.get(_of(name, "console"), wire.ConsoleView)

    def outlook(self) -> wire.ReconciliationView:
        """What the gateway would do next with every node and machine."""
        return self.session.get("/reconciliation", wire.ReconciliationView)


def _of(name: str, what: str) -> str:
    return f"/nodes/{quote(name, safe='')}/{what}"
