"""NodeAdminService: what administrators do with nodes: boot, drain, take back, end, and read their consoles.

Invariant: Slurm stays the scheduler. Each act goes through Slurm, whose programs then ask the gateway as they always
do; only a machine that is to end at once, or that Slurm has none of its jobs on, is let go here.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from gateway import wire
from gateway.engines.engine import Engine
from gateway.errors import Conflict, InvalidRequest, NotFound, SchedulerUnavailable
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, authorise, demand
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import USABLE, NodeState
from gateway.provisioning.node import NodeProvider
from gateway.service.acts import act_of
from gateway.service.fleet import FleetService
from gateway.slurm.states import GATEWAY_REASON as OURS
from gateway.work import Work, Works

log = structlog.get_logger(__name__)


class Releases(Protocol):
    """Lets nodes go, as SuspendProgram's request does."""

    def release(self, names: Iterable[str], reason: str) -> None:
        """Slurm, or an administrator, is done with these nodes."""


@dataclass(frozen=True)
class NodeAdminService:
    """Acts on nodes; each is signed, and told to the audit log."""

    works: Works
    fleet: FleetService
    engine: Engine
    provider: NodeProvider
    provisioner: Releases
    wake_nodes: Callable[[], None]
    now: Callable[[], datetime]

    def create(self, caller: Caller, request: wire.NodeCreateRequest) -> list[wire.NodeView]:
        """Have Slurm power nodes up that nobody asked for yet. Raises Refused, NotFound, Conflict, SchedulerError."""
        demand(authorise(caller, Action.RUN_NODES))
        can = {node.name for node in self.engine.nodes() if node.can_power_up}
        with self.works() as work:
            nodes = _chosen(work.fleet.all(), request, can)
            for node in nodes:
                self._tell(work, caller, "create node", node.name, f"asked Slurm to power {node.name} up")
        names = [node.name for node in nodes]
        self.engine.update_nodes(names, "POWER_UP")
        self.wake_nodes()
        return [self.fleet.view(caller, name) for name in names]

    def drain(self, caller: Caller, name: str, request: wire.NodeDrainRequest) -> wire.NodeView:
        """No new job starts on the node; what runs, ends. Raises Refused, NotFound, InvalidRequest."""
        demand(authorise(caller, Action.RUN_NODES))
        if request.reason.startswith(OURS.strip()):
            why = "drains with that word are the gateway's own, and it takes them back"
            raise InvalidRequest(f"A reason does not begin with {OURS.strip()!r}.", hint=why)
        self._told(caller, "drain node", name, request.reason)
        self.engine.update_nodes([name], "DRAIN", f"{request.reason} ({caller.user.name})")
        return self.fleet.view(caller, name)

    def resume(self, caller: Caller, name: str) -> wire.NodeView:
        """Take a drain back, whoever made it. Raises Refused, NotFound; SchedulerRefused: it is not drained."""
        demand(authorise(caller, Action.RUN_NODES))
        self._told(caller, "resume node", name, "takes jobs again")
        self.engine.update_nodes([name], "RESUME")
        return self.fleet.view(caller, name)

    def destroy(self, caller: Caller, name: str, request: wire.NodeDestroyRequest) -> wire.NodeView:
        """End a node's machine: when its jobs have ended or, with ``now``, at once. Raises Refused, NotFound, Conflict.

        At once means at once also while Slurm is away, for a machine costs money meanwhile; Slurm is told later.
        """
        demand(authorise(caller, Action.RUN_NODES))
        node = self._told(caller, "destroy node", name, "ends at once" if request.now else "ends when it has no job")
        if node.state is NodeState.OFF:
            raise Conflict(f"Node {name} has no machine.", hint="`burst nodes` lists those that have one")
        if node.state in USABLE and not request.now:
            self.engine.update_nodes([name], "POWER_DOWN_ASAP")
        else:
            self._end(node, f"ended by {caller.user.name}")
        self.wake_nodes()
        return self.fleet.view(caller, name)

    def console(self, caller: Caller, name: str) -> wire.ConsoleView:
        """The end of a machine's console. Raises Refused, NotFound, CloudError."""
        demand(authorise(caller, Action.SEE_CONSOLE))
        with self.works() as work:
            machine = work.fleet.get(name).machine_id
        if machine is None:
            raise NotFound(
                f"Node {name} has no machine.", hint=f"`burst nodes show {name}` says what became of the last"
            )
        return wire.ConsoleView(node=name, machine=machine, text=self.provider.console(machine))

    def _end(self, node: ElasticNode, reason: str) -> None:
        try:
            # Its jobs are requeued, and none starts on it while it ends.
            for state in ("DRAIN", "DOWN"):
                self.engine.update_nodes([node.name], state, f"{OURS}{reason}")
        except SchedulerUnavailable as error:
            log.warning("slurm was not told that a node ends", node=node.name, error=error.detail)
        self.provisioner.release([node.name], reason)

    def _told(self, caller: Caller, action: str, name: str, text: str) -> ElasticNode:
        with self.works() as work:
            node = work.fleet.get(name)
            self._tell(work, caller, action, name, text)
        return node

    def _tell(self, work: Work, caller: Caller, action: str, name: str, text: str) -> None:
        work.evidence.keep(caller.evidence)
        work.audit.tell(act_of(caller, action, f"node:{name}", text), self.now())


def _chosen(nodes: tuple[ElasticNode, ...], request: wire.NodeCreateRequest, can: Container[str]) -> list[ElasticNode]:
    """The nodes of a request, "small-3", or of a size, "small" and how many; ``can``: those Slurm can power up."""
    named = [node for node in nodes if node.name == request.name]
    of_size = [node for node in nodes if node.offer == request.name]
    if not named and not of_size:
        raise NotFound(f"There is no node and no size {request.name}.", hint="`burst offers` lists the sizes")
    off = [node for node in named or of_size if node.state is NodeState.OFF and not node.wanted]
    ready = [node for node in off if node.name in can]
    if len(ready) < request.count:
        hint = "`burst nodes` shows them; a size has as many nodes as its max_nodes says"
        if len(off) >= request.count:
            hint = (
                "`sinfo` shows the rest powering down, which ends by itself within SuspendTimeout, or drained or down"
            )
        raise Conflict(
            f"Of {request.name}, {len(ready)} can be powered up now, and {request.count} are asked for.", hint=hint
        )
    return sorted(ready, key=_number)[: request.count]


def _number(node: ElasticNode) -> int:
    return int(node.name.rpartition("-")[2])
