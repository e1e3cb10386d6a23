"""LeaseService: what nodes say of themselves: that they live, what they have, that they are taken back, that they end.

Invariant: a node speaks only for itself. One that has less than its size promised takes no job: Slurm is told at each
of its words until it has heard it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from gateway import wire
from gateway.engines.engine import Engine
from gateway.engines.power import Power
from gateway.errors import BurstError
from gateway.identity.audit import Act, Outcome
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.inventory import Gpu, Inventory, Promise, hardware_shortfalls, shortfall
from gateway.provisioning.lifecycle import USABLE, NodeState
from gateway.service.nodes import NodeFacts
from gateway.work import Work, Works

log = structlog.get_logger(__name__)

_ENDING = frozenset({NodeState.TERMINATING, NodeState.STUCK_TERMINATING, NodeState.FAILED_BOOT})
_NEW = frozenset({NodeState.BOOTSTRAPPED, NodeState.IDLE})
"""States in which a node that lacks something has no job yet."""


@dataclass(frozen=True)
class Inspection:
    """Holds what nodes report against what was promised, and keeps those that fall short from jobs."""

    engine: Engine
    promise_of: Callable[[ElasticNode], Promise]

    def lacks(self, node: ElasticNode, report: wire.InventoryReport | None) -> str:
        """What of the promise lacks; "" for nothing, or for a node that says nothing."""
        return shortfall(self.promise_of(node), inventory_of(report)) if report else ""

    def lacks_for_good(self, node: ElasticNode, report: wire.InventoryReport | None) -> str:
        """The same without what may come back when a job ends."""
        return "; ".join(hardware_shortfalls(self.promise_of(node), inventory_of(report))) if report else ""

    def quarantine(self, work: Work, node: ElasticNode, lack: str, now: datetime) -> ElasticNode:
        """Record it: in the node's life, and as an alarm in the audit log."""
        act = Act(f"node:{node.name}", "quarantine-node", f"node:{node.name}", lack, Outcome.ALARM)
        work.audit.tell(act, now)
        log.error("alarm", what="a node has less than its size promised", node=node.name, reason=lack)
        return work.fleet.move(node, NodeState.QUARANTINED, now, f"quarantined: {lack}", reason=lack)

    def keep_out(self, node: ElasticNode) -> None:
        """Tell Slurm that a quarantined node is lost to it; if Slurm is away, at the node's next word."""
        try:
            Power(self.engine).failed(node.name, f"quarantined: {node.reason}")
        except BurstError as error:
            log.warning("slurm was not told of a quarantined node", node=node.name, error=error.detail)


@dataclass(frozen=True)
class LeaseService:
    """Requests that nodes make for themselves."""

    works: Works
    engine: Engine
    facts: NodeFacts
    inspection: Inspection
    wake_nodes: Callable[[], None]
    now: Callable[[], datetime]

    def renew(self, node: ElasticNode, request: wire.LeaseRequest) -> wire.LeaseReply:
        """Renew a node's lease and look at what it has; a node that is being ended is told to drain."""
        lack = self.inspection.lacks(node, request.inventory)
        with self.works() as work:
            node = work.fleet.get(node.name)
            if node.state not in _ENDING:
                until = self.now() + timedelta(seconds=self.facts.lease_s)
                node = work.fleet.note(node, lease_until=until)
            if lack and node.state in _NEW:
                node = self.inspection.quarantine(work, node, lack, self.now())
        if node.state is NodeState.QUARANTINED:
            self.inspection.keep_out(node)
        elif node.state is NodeState.BUSY and (lack := self.inspection.lacks_for_good(node, request.inventory)):
            # Its job may go on; it is quarantined when that has ended.
            Power(self.engine).drain(node.name, lack)
        return wire.LeaseReply(
            lease_seconds=self.facts.lease_s, grace_seconds=self.facts.grace_s, drain=node.state in _ENDING
        )

    def preempted(self, node: ElasticNode, request: wire.PreemptedRequest) -> None:
        """Its cloud takes it back: at the next look it is drained, and its job put back into the queue."""
        text = f"{request.words} at {request.at:%Y-%m-%dT%H:%M:%SZ}" if request.at else request.words
        with self.works() as work:
            node = work.fleet.get(node.name)
            if request.advice or node.state not in USABLE:
                work.fleet.tell(node, self.now(), "advice" if request.advice else "preempted", text)
                return
            text = f"preempted: {text}"
            work.fleet.move(node, NodeState.PREEMPTING, self.now(), text, reason=text)
        self.wake_nodes()

    def leave(self, node: ElasticNode, request: wire.LeaveRequest) -> None:
        """It ends itself: its jobs run elsewhere, and its machine is ended at its cloud too."""
        with self.works() as work:
            node = work.fleet.get(node.name)
        if node.state not in _LEAVES:
            return
        text = f"it ends itself: {request.reason}"
        Power(self.engine).failed(node.name, text)
        with self.works() as work:
            work.fleet.move(work.fleet.get(node.name), NodeState.TERMINATING, self.now(), text, reason=text)
        self.wake_nodes()


_LEAVES = frozenset({NodeState.BOOTSTRAPPED, *USABLE, NodeState.QUARANTINED, NodeState.PREEMPTING})


def inventory_of(report: wire.InventoryReport) -> Inventory:
    """What a node reported."""
    gpus = tuple(Gpu(gpu.kind, gpu.uuid, gpu.memory_mb, gpu.index) for gpu in report.gpus)
    return Inventory(report.cores, report.memory_mb, gpus, report.driver, report.health)
