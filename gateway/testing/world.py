"""World: clouds, Slurm, machines and the gateway in one virtual time.

Invariant: a world's course depends on its shape and on what is done to it, on nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.node import MachineState, NodeOrder
from gateway.provisioning.supply import Supplies, Supply
from gateway.testing.cloud import SimulatedCloud
from gateway.testing.machine import BootPlan, SimulatedMachine
from gateway.testing.memory_fleet import MemoryNodes
from gateway.testing.process import GatewayProcess, Surroundings
from gateway.testing.slurm import SimulatedSlurm
from gateway.testing.slurm_job import SlurmJob
from gateway.testing.slurm_node import SlurmNode
from gateway.testing.spool import Jobs, MemorySpool
from gateway.testing.virtual_time import START, VirtualTime

LOOP_S = 30.0
"""How often Slurm and the gateway look when nothing wakes them."""
SOON_S = 0.05
MOST_WAKES = 400
"""So often the gateway may be woken in a loop, before it is said to run in circles."""
LEASE_S = 900.0
RENEW_S = 300.0
NOTICE_S = 120.0
_ASK_AGAIN_S = 10.0
_GIVES_UP_S = 600.0
SIZE = "small"


class Violation(AssertionError):
    """An invariant does not hold; ``number`` is its own."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"I{number}: {text}")
        self.number = number


class Observer:
    """What watches a world; each method is told of one thing."""

    def looked(self, world: World, passed_s: float) -> None:
        """Everybody has looked once more."""

    def ticked(self, world: World) -> None:
        """The gateway has looked."""

    def made(self, world: World, machine: SimulatedMachine) -> None:
        """A cloud has made a machine."""

    def called(self, world: World, call: str, what: str) -> None:
        """The gateway calls a cloud."""

    def set(self, world: World, node: SlurmNode, state: str) -> None:
        """The gateway sets the state of one of Slurm's nodes."""


@dataclass(frozen=True)
class Shape:
    """Of what a world is made. ``most``: machines of one cloud's size that may be used at once."""

    nodes: int = 3
    clouds: tuple[str, ...] = ("alpha", "beta")
    most: int | None = None
    zones: bool = False
    """Each cloud is two supplies, one a zone."""
    ratio: float = 1.0
    """By what the loop is longer."""

    @property
    def supplies(self) -> Supplies:
        """Where nodes come from, first choice first."""
        places = ("s@a", "s@b") if self.zones else ("s",)
        return Supplies(
            {SIZE: tuple(Supply(f"{cloud}/{place}", self.most) for cloud in self.clouds for place in places)}
        )


class Stored(Protocol):
    """Where the nodes are stored."""

    def begin(self) -> AbstractContextManager[Fleet]:
        """A transaction."""

    @property
    def rows(self) -> Mapping[str, ElasticNode]:
        """All, by name, as they were when the last transaction ended."""

    @property
    def strays(self) -> Collection[str]:
        """Ids of machines that are known to be nobody's."""

    def kinds(self) -> Counter[str]:
        """How often which state was entered."""


@dataclass
class World:
    """``observers`` watch it; ``stored`` has its nodes."""

    shape: Shape = field(default_factory=Shape)
    observers: tuple[Observer, ...] = ()
    stored: Stored = field(default_factory=MemoryNodes)

    def __post_init__(self) -> None:
        self.time = VirtualTime()
        self.spool = MemorySpool()
        self.node_events = 0
        self.broken: list[Violation] = []
        self._told_of = {
            what: [
                getattr(each, what)
                for each in self.observers
                if getattr(type(each), what) is not getattr(Observer, what)
            ]
            for what in ("looked", "ticked", "made", "called", "set")
        }
        self.clouds = {name: self._cloud(name) for name in self.shape.clouds}
        self.slurm = SimulatedSlurm(self.time, self._called_by_slurm, self._answering, self._ready, self._told)
        self.around = Surroundings(
            self.time, self.clouds, self.shape.supplies, self.slurm, self.spool, self.stored.begin
        )
        self.doubled_calls = 0
        self.held_calls = 0
        self.lost_calls = 0
        self.asked: set[str] = set()
        self.replayed: dict[str, float] = {}
        """Node → when a call about it was made again, or came late."""
        self.process: GatewayProcess | None = None
        self.down_s = 0.0
        """How long the gateway stays away when it ends next."""
        self.restarts = 0
        self.started_at = 0.0
        self._awake = False
        self._wakes = 0
        self._looked_at = 0.0
        self._know_nodes()
        self._start()
        self.time.after(LOOP_S, self._loop)

    # ------------------------------------------------------------ time

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.time.run(seconds)
        if self.broken:
            raise self.broken[0]

    def tell(self, what: str, *facts: Any) -> None:
        """Tell the observers; what they find wrong is raised by ``passes``, not into the code that they observe."""
        for tell in self._told_of[what]:
            try:
                tell(self, *facts)
            except Violation as violation:
                self.broken.append(violation)

    @property
    def machines(self) -> tuple[SimulatedMachine, ...]:
        """All that cost, in the order in which they were made."""
        return tuple(machine for cloud in self.clouds.values() for machine in cloud.live.values())

    @property
    def nodes(self) -> Mapping[str, ElasticNode]:
        """What is stored."""
        return self.stored.rows

    def kill(self, points: int, down_s: float) -> None:
        """The gateway ends after so many more writes and calls, and is away for so long."""
        self.down_s = down_s
        if self.process is not None:
            self.process.dies_in = points

    def _loop(self) -> None:
        self._wakes = 0
        self.slurm.tick()
        self._tick()
        passed, self._looked_at = self.time.seconds - self._looked_at, self.time.seconds
        self.tell("looked", passed)
        self.time.after(LOOP_S * self.shape.ratio, self._loop)

    def _tick(self) -> None:
        self._awake = False
        if self.process is not None:
            self.process.tick()
            self.tell("ticked")
        self._bury()

    def _wake(self) -> None:
        self._wakes += 1
        if self._wakes > MOST_WAKES:
            self.broken.append(Violation(13, f"{self._wakes} looks within {LOOP_S} s, and no end"))
        elif not self._awake:
            self._awake = True
            self.time.after(SOON_S, self._tick)

    # ------------------------------------------------------------ the gateway

    def _start(self) -> None:
        self.process = GatewayProcess(self.around, self._wake, self._called)
        self.restarts += 1
        self.started_at = self.time.seconds
        self._wake()

    def _bury(self) -> None:
        if self.process is not None and self.process.dead:
            self.process.end()
            self.process = None
            self.time.after(self.down_s, self._start)

    def _called(self, call: str, what: str) -> None:
        self.tell("called", call, what)

    def _told(self, node: SlurmNode, state: str) -> None:
        self.tell("set", node, state)

    def _know_nodes(self) -> None:
        with self.stored.begin() as fleet:
            for number in range(1, self.shape.nodes + 1):
                name = f"{SIZE}-{number}"
                fleet.add(name, SIZE, self.time.now())
                self.slurm.known[name] = SlurmNode(name)

    # ------------------------------------------------------------ Slurm

    def _called_by_slurm(self, program: str, nodes: Collection[str], jobs: Jobs) -> None:
        if program == "resume":
            self.asked.update(nodes)
        if self.lost_calls:
            self.lost_calls -= 1
            return
        times = 2 if self.doubled_calls else 1
        self.doubled_calls = max(0, self.doubled_calls - 1)
        late, self.held_calls = self.held_calls, 0
        for _ in range(times):
            if late or times > 1:
                self.replayed.update(dict.fromkeys(nodes, self.time.seconds + late * 10.0))
            if late:
                self.time.after(late * 10.0, lambda: self.hand_in(program, nodes, jobs))
            else:
                self.hand_in(program, nodes, jobs)

    def hand_in(self, program: str, nodes: Collection[str], jobs: Jobs = ()) -> None:
        """A call of a program of Slurm's reaches the spool."""
        self.spool.put(program, nodes, jobs)
        self._wake()

    def _answering(self) -> Collection[str]:
        running = MachineState.RUNNING
        return {each.order.node for each in self.machines if each.answers and each.state is running}

    def _ready(self, job: SlurmJob) -> bool:
        if self.process is None or not self.process.runner.ready.wait(frozenset(job.nodes), 0):
            return False
        begins = self.process.begins(job.nodes, job.id)
        self._bury()
        return begins

    # ------------------------------------------------------------ machines

    def _cloud(self, name: str) -> SimulatedCloud:
        return SimulatedCloud(name, self.time, boots=self._booted, made=self._made)

    def _made(self, machine: SimulatedMachine) -> None:
        self.tell("made", machine)

    def _booted(self, machine: SimulatedMachine) -> None:
        if machine.plan.join_s is not None:
            self.time.after(machine.plan.join_s, lambda: self._ask(machine, self.time.seconds + _GIVES_UP_S))

    def _ask(self, machine: SimulatedMachine, until: float) -> None:
        """A machine's agent asks to join, again and again."""
        if machine.state is not MachineState.RUNNING or machine.joined:
            return
        if self.process is not None and self.process.join(machine):
            machine.joined = True
            machine.leased_at = self.time.seconds
            if machine.plan.slurmd_s is not None:
                self.time.after(machine.plan.slurmd_s, lambda: self._up(machine))
            self.time.after(RENEW_S, lambda: self._renew(machine))
        elif self.time.seconds < until:
            self.time.after(_ASK_AGAIN_S, lambda: self._ask(machine, until))
        self._bury()

    def _up(self, machine: SimulatedMachine) -> None:
        machine.answers = machine.state is MachineState.RUNNING

    def _renew(self, machine: SimulatedMachine) -> None:
        """A node's agent asks for its lease; without one for twice its time it ends its machine."""
        if machine.state is not MachineState.RUNNING:
            return
        told = self.process.renew(machine) if self.process is not None else ""
        self._bury()
        if told == "on":
            machine.leased_at = self.time.seconds
        if told == "drain" or self.time.seconds - machine.leased_at > 2 * LEASE_S:
            # A guest that shuts down does not end what is paid for.
            machine.state, machine.answers = MachineState.STOPPED, False
            return
        self.time.after(RENEW_S, lambda: self._renew(machine))

    # ------------------------------------------------------------ what a history may do

    def lay(self, cloud: SimulatedCloud, node: str, generation: int) -> SimulatedMachine:
        """A machine with our tags that nobody here ordered."""
        order = NodeOrder("simulated", node, generation, "s", "", f"{cloud.name}/s")
        cloud.count += 1
        plan = BootPlan(join_s=None)
        at = START + timedelta(seconds=self.time.seconds)
        machine = SimulatedMachine(
            f"i-{cloud.count}",
            cloud.name,
            order,
            "a",
            self.time.seconds,
            at,
            plan,
            tags=order.tags,
            made_by_order=False,
        )
        machine.state = MachineState.RUNNING
        cloud.live[machine.id] = machine
        return machine

    def replay(self, program: str, nodes: Collection[str], jobs: Jobs = ()) -> None:
        """An old call of Slurm's comes once more."""
        self.replayed.update(dict.fromkeys(nodes, self.time.seconds))
        self.hand_in(program, nodes, jobs)

    def preempt(self, machine: SimulatedMachine) -> None:
        """Its cloud takes a machine back: it says so, and two minutes later it is stopped."""
        machine.preempted = "its price went up"

        def take() -> None:
            if machine.state is MachineState.RUNNING:
                machine.state, machine.answers = MachineState.STOPPED, False

        self.time.after(NOTICE_S, take)

    @property
    def states(self) -> Mapping[str, NodeState]:
        """Node → state."""
        return {name: node.state for name, node in self.nodes.items()}
