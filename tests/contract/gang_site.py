"""A provisioner on stored nodes with a cloud of zones in memory; looks as NodeRunner does, with a clock of its own."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from gateway.errors import Ambiguous, BurstError, Capacity, CloudTransient, Conflict, Throttled
from gateway.provisioning.gangs import Together, gangs_of, judge
from gateway.provisioning.launcher import Join, Owner
from gateway.provisioning.lifecycle import BEFORE_JOIN, USABLE, Limits, NodeState
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Machine, MachineState
from gateway.provisioning.provision import Provisioner
from gateway.provisioning.supply import Supplies, Supply
from gateway.provisioning.wishes import JobNodes
from gateway.storage.database import Database
from gateway.storage.nodes import SqlFleet

EAST, WEST = "sky/m@east", "sky/m@west"
DOWN = frozenset({"IDLE", "CLOUD", "POWERING_UP"})
UP = frozenset({"IDLE", "CLOUD"})


_REFUSALS = {"transient": CloudTransient, "throttled": Throttled}


class Killed(BaseException):
    """The gateway's process ended here."""


@dataclass
class Sky:
    """Machines in memory, by zone; ``room`` is how many each may have, ``fault`` befalls the next create call."""

    room: dict[str, int]
    live: dict[str, Machine] = field(default_factory=dict)
    fault: str | None = None
    orders: list[tuple[str, ...]] = field(default_factory=list)
    slow: set[str] = field(default_factory=set)
    """Nodes whose machines are made and do not run."""
    before_reply: object = None
    """Called when the machines are there and nobody knows yet."""
    name: str = "sky"
    ids: itertools.count = field(default_factory=itertools.count)

    def create(self, order):
        return self._create((order,))[0]

    def create_gang(self, gang):
        return self._create(gang.orders)

    def _create(self, orders):
        self.orders.append(tuple(order.node for order in orders))
        fault, self.fault = self.fault, None
        if fault in _REFUSALS:
            raise _REFUSALS[fault]("not now")
        zone = orders[0].zone
        known = {machine.token: machine for machine in self.live.values()}
        new = [order for order in orders if order.token not in known]
        used = sum(machine.zone == zone for machine in self.live.values())
        if new and used + len(new) > self.room.get(zone, 0):
            raise Capacity(f"zone {zone} is full")
        for order in new:
            name = f"m-{next(self.ids)}"
            known[order.token] = self.live[name] = Machine(
                name, order.node, order.generation, order.token, MachineState.PENDING, None, zone=zone
            )
        if callable(self.before_reply):
            self.before_reply()
        if fault == "lost reply":
            raise Ambiguous("no reply")
        if fault == "killed":
            raise Killed
        return tuple(known[order.token] for order in orders)

    def machines(self, _cluster):
        return tuple(self.live.values())

    def destroy(self, machine_id):
        self.live.pop(machine_id, None)

    def console(self, _machine_id):
        return ""

    def leftovers(self, _cluster):
        return ()

    def clean(self, leftover):
        raise AssertionError(leftover)

    def sizes(self):
        return ()


@dataclass
class Told:
    """What Slurm was told of nodes."""

    failed_nodes: dict[str, str] = field(default_factory=dict)

    def failed(self, node, reason):
        self.failed_nodes[node] = reason

    def gone(self, _node):
        """Fine."""

    def requeue(self, node, _job, reason):
        raise AssertionError((node, reason))


class GangSite:
    """One gateway; a second one on the same database and cloud is ``GangSite(url, of=first)``."""

    def __init__(self, url, names=("small-1", "small-2", "small-3", "small-4"), *, of=None, **limits):
        self.database = Database(url)
        self.sky = of.sky if of else Sky({"east": 4, "west": 4})
        self.slurm = Told()
        self.clock = of.clock if of else [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)]
        self.seen: frozenset[str] = frozenset()
        self.partial_s: dict[int, float] = {}
        self.provisioner = Provisioner(
            "c",
            self.fleet,
            self.sky,
            lambda node: Join(f"{node.generation:064x}", "#cloud-config"),
            self.slurm,
            lambda: self.clock[0],
            Supplies({"small": (Supply(EAST), Supply(WEST))}),
            limits=Limits(**limits),
            owner_of=lambda job: Owner(f"person-{job}", f"account-{job % 2}"),
        )
        if of is None:
            with self.fleet() as fleet:
                for name in names:
                    fleet.add(name, "small", self.clock[0])

    @contextmanager
    def fleet(self):
        with self.database.begin() as connection:
            yield SqlFleet(connection)

    def nodes(self):
        with self.fleet() as fleet:
            return fleet.all()

    def node(self, name):
        with self.fleet() as fleet:
            return fleet.get(name)

    def states(self):
        return {node.name: node.state for node in self.nodes()}

    def ask(self, job, *names, resumed=None):
        """Slurm wants these nodes for a job."""
        resumed = resumed or names
        self.provisioner.want(resumed, [JobNodes(job, names, tuple(resumed))])

    def pass_time(self, seconds):
        self.clock[0] += timedelta(seconds=seconds)

    def look(self):
        """Once, as the runner does; what fails is tried at the next look."""
        listing = Listing({"sky": self.sky.machines("c")})
        nodes = [node for node in self.nodes() if node.state is not NodeState.OFF or node.wanted]
        together = set()
        for gang in gangs_of(nodes):
            seen = {node.name: listing.of(node) for node in gang}
            verdict = judge(gang, seen, self.clock[0], self.provisioner.limits)
            if verdict.act is not Together.ALONE:
                together |= {node.name for node in (verdict.nodes or gang)}
                self._try(partial(self.provisioner.step_together, verdict, seen))
        for node in nodes:
            if node.name not in together:
                self._try(partial(self.provisioner.step, node, listing.of(node), self._slurm_of(node)))

    def settle(self, looks=12, seconds=11):
        """Machines run and join; so many looks."""
        for _ in range(looks):
            self.pass_time(seconds)
            self.boot()
            self.look()
            self.seen = self.provisioner.reap(self.sky.machines("c"), self.seen)

    def boot(self):
        for machine in tuple(self.sky.live.values()):
            if machine.state is MachineState.PENDING and machine.node not in self.sky.slow:
                self.sky.live[machine.id] = replace(machine, state=MachineState.RUNNING)
        listing = Listing({"sky": self.sky.machines("c")})
        for node in self.nodes():
            machine = listing.of(node)
            if isinstance(machine, Machine) and machine.state is MachineState.RUNNING and node.state in BEFORE_JOIN:
                with self.fleet() as fleet:
                    fleet.move(node, NodeState.BOOTSTRAPPED, self.clock[0], "joined")

    def close(self):
        self.database.close()

    def _slurm_of(self, node):
        machine = Listing({"sky": self.sky.machines("c")}).of(node)
        runs = isinstance(machine, Machine) and machine.state is MachineState.RUNNING
        return UP if runs and node.state in USABLE | {NodeState.BOOTSTRAPPED} else DOWN

    @staticmethod
    def _try(step):
        try:
            step()
        except (BurstError, Killed, Conflict):
            return
