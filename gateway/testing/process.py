"""GatewayProcess: one life of the gateway's nodes' part, wired as in production, that can end between any two writes.

Invariant: all that it knew is lost with it; the next one has the database, the clouds, Slurm and the spool.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from gateway.engines.power import Power
from gateway.errors import BurstError, Conflict
from gateway.provisioning.breakers import Breakers
from gateway.provisioning.cloud_router import CloudRouter
from gateway.provisioning.doubt import Doubt
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.launcher import Join, order_of
from gateway.provisioning.lifecycle import BEFORE_JOIN, NodeState
from gateway.provisioning.listing import Lister
from gateway.provisioning.node import Leftover, Machine, NodeOrder, Size
from gateway.provisioning.provision import Provisioner
from gateway.provisioning.reaper import Heartbeat
from gateway.provisioning.supply import Supplies
from gateway.runner.nodes import NodeRunner
from gateway.runner.periodic import attempt
from gateway.runner.site import NodesReady
from gateway.testing.cloud import SimulatedCloud
from gateway.testing.machine import SimulatedMachine
from gateway.testing.slurm import SimulatedSlurm
from gateway.testing.spool import MemorySpool
from gateway.testing.virtual_time import Tasks, VirtualTime

CLUSTER = "simulated"
POLL_S = 10.0
"""How often a cloud is asked for its machines."""

Store = Callable[[], AbstractContextManager[Fleet]]

SHORT = "it has 1 GPU of the 2 that its size promises"


class Killed(BaseException):
    """The gateway's process ends here."""


@dataclass(frozen=True)
class Surroundings:
    """What outlives a process."""

    time: VirtualTime
    clouds: Mapping[str, SimulatedCloud]
    supplies: Supplies
    slurm: SimulatedSlurm
    spool: MemorySpool
    store: Store


@dataclass(frozen=True)
class Deadly:
    """All clouds as the gateway reaches them; each call is a point at which the process may end."""

    router: CloudRouter
    point: Callable[[], None]
    called: Callable[[str, str], None]
    """Told the call's name and what it is about."""
    name: str = "clouds"

    def sizes(self) -> tuple[Size, ...]:
        """See ``NodeProvider.sizes``."""
        return self.router.sizes()

    def create(self, order: NodeOrder) -> Machine:
        """See ``NodeProvider.create``."""
        self.point()
        self.called("create", order.node)
        machine = self.router.create(order)
        self.point()
        return machine

    def create_gang(self, gang: GangOrder) -> tuple[Machine, ...]:
        """See ``NodeProvider.create_gang``."""
        self.point()
        self.called("create", gang.orders[0].node)
        machines: tuple[Machine, ...] = self.router.create_gang(gang)
        self.point()
        return machines

    def machines(self, cluster: str) -> tuple[Machine, ...]:
        """See ``NodeProvider.machines``."""
        return self.router.machines(cluster)

    def machines_at(self, cloud: str, cluster: str) -> tuple[Machine, ...]:
        """See ``CloudRouter.machines_at``."""
        self.point()
        found = self.router.machines_at(cloud, cluster)
        self.called("listed", cloud)
        return found

    def destroy(self, machine_id: str) -> None:
        """See ``NodeProvider.destroy``."""
        self.point()
        self.called("destroy", machine_id)
        self.router.destroy(machine_id)
        self.point()

    def console(self, machine_id: str) -> str:
        """See ``NodeProvider.console``."""
        return self.router.console(machine_id)

    def leftovers(self, cluster: str) -> tuple[Leftover, ...]:
        """See ``NodeProvider.leftovers``."""
        return self.router.leftovers(cluster)

    def clean(self, leftover: Leftover) -> None:
        """See ``NodeProvider.clean``."""
        self.router.clean(leftover)


class VirtualRunner(NodeRunner):
    """A NodeRunner whose ticks somebody else times."""

    woken: Callable[[], None] = staticmethod(lambda: None)

    def wake(self) -> None:
        """See ``NodeRunner.wake``."""
        self.woken()


@dataclass
class GatewayProcess:
    """``woken``: asked for a tick soon; ``called``: told of each call to a cloud."""

    around: Surroundings
    woken: Callable[[], None]
    called: Callable[[str, str], None]
    dead: bool = False
    dies_in: int | None = None
    """So many writes and calls from now it ends."""
    breakers: Breakers = field(default_factory=Breakers)

    def __post_init__(self) -> None:
        around = self.around
        self.tasks = Tasks(around.time)
        first, *others = around.clouds
        router = CloudRouter(around.clouds[first], {name: around.clouds[name] for name in (first, *others)})
        provider = Deadly(router, self.point, self.called)
        self.lister = Lister(
            lambda cloud: provider.machines_at(cloud, CLUSTER),
            dict.fromkeys(around.clouds, POLL_S),
            around.time.monotonic,
            self.tasks,
            around.time.now,
        )
        heartbeat = Heartbeat(dict.fromkeys(around.clouds, POLL_S), around.time.monotonic)
        self.provisioner = Provisioner(
            CLUSTER,
            self.fleet,
            provider,
            invitation,
            Power(around.slurm),
            around.time.now,
            around.supplies,
            self.breakers,
            blind=self.lister.blind,
            unread=self.lister.unread,
            reaped=heartbeat.alive,
            invite_gang=gang_invitation,
            holder=CLUSTER,
        )
        self.runner = VirtualRunner(
            self.provisioner,
            self.lister,
            around.slurm,
            cast("Path", around.spool),
            NodesReady(),
            doubt=Doubt(clock=around.time.monotonic),
            clock=around.time.monotonic,
            pool=self.tasks,
            heartbeat=heartbeat,
        )
        self.runner.woken = self.woken
        self._ticking = False

    def tick(self) -> None:
        """The runner's look; none while the one before is under way."""
        if not self.dead and not self._ticking:
            self._ticking = True
            self.tasks.submit(self._tick)

    def end(self) -> None:
        """As the end of a process: whatever was under way stops where it is."""
        self.dead = True
        self.tasks.end()

    def point(self) -> None:
        """A moment at which the process may end."""
        if self.dead:
            raise Killed
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.dead = True
                raise Killed

    @contextmanager
    def fleet(self) -> Iterator[Fleet]:
        """A transaction; the process may end before it is stored, or just after."""
        self.point()
        with self.around.store() as fleet:
            yield fleet
            self.point()
        self.point()

    def join(self, machine: SimulatedMachine) -> bool:
        """A machine trades its token, as ``JoinService`` has it; whether it got in."""
        with suppress(BurstError, Killed), self.fleet() as fleet:
            node = fleet.get(machine.order.node)
            if not self._admits(node, machine):
                return False
            now = self.around.time.now()
            joined = fleet.move(
                node,
                NodeState.BOOTSTRAPPED,
                now,
                "traded its one-time token",
                public_key={"kty": "OKP", "x": machine.id},
                address=node.address or machine.as_listed().address,
            )
            if machine.plan.short:
                fleet.move(joined, NodeState.QUARANTINED, now, SHORT, reason=SHORT)
            self.woken()
            return True
        return False

    def begins(self, nodes: Collection[str], job: int) -> bool:
        """The prolog of a job on its nodes, as ``NodeService`` has it; whether it was heard."""
        with suppress(BurstError, Killed), self.fleet() as fleet:
            for name in nodes:
                fleet.note(fleet.get(name), job=job)
            return True
        return False

    def renew(self, machine: SimulatedMachine) -> str:
        """What a node is told that asks for its lease: "on", "drain", or "" if nobody answers it."""
        try:
            with self.fleet() as fleet:
                node = fleet.get(machine.order.node)
                if node.public_key is None or node.public_key.get("x") != machine.id:
                    return ""
                if node.state in _ENDING:
                    return "drain"
                fleet.note(node, lease_until=self.around.time.now())
                return "on"
        except (BurstError, Killed):
            return ""

    def _admits(self, node: ElasticNode, machine: SimulatedMachine) -> bool:
        mine = node.join_token_hash == token_of(machine)
        in_time = node.join_until is not None and self.around.time.now() <= node.join_until
        return mine and in_time and node.public_key is None and node.state in BEFORE_JOIN

    def _tick(self) -> None:
        try:
            with suppress(Killed, Conflict):
                attempt("look at the nodes", self.runner.tick, failed=0.0)
        finally:
            self._ticking = False


_ENDING = frozenset({NodeState.TERMINATING, NodeState.STUCK_TERMINATING, NodeState.FAILED_BOOT})


def invitation(node: ElasticNode) -> Join:
    """What a node's present generation is invited with."""
    return Join(f"{node.name}-{node.generation}", "#cloud-config")


@dataclass(frozen=True)
class GangJoin:
    """What the nodes of a gang are invited with."""

    token_hashes: tuple[str, ...]
    user_data: str = "#cloud-config"


def gang_invitation(nodes: tuple[ElasticNode, ...]) -> GangJoin:
    """For nodes that are ordered together, in their order."""
    token = GangOrder(tuple(order_of(CLUSTER, node, "") for node in nodes), "").token
    return GangJoin(tuple(f"{token}-{number}" for number in range(len(nodes))))


def token_of(machine: SimulatedMachine) -> str:
    """What a machine asks to join with."""
    if machine.gang:
        return f"{machine.gang}-{machine.number}"
    return f"{machine.order.node}-{machine.order.generation}"
