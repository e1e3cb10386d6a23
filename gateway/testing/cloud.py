"""SimulatedCloud: a cloud in virtual time with zones, markets, quotas, and everything that goes wrong with one.

Invariant: what a call does happens at the cloud whether or not its caller lives to hear of it; the same token makes
one machine, unless the history has the cloud forget a token.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from gateway.errors import Ambiguous, Capacity, CloudAuth, CloudError, CloudInvalid, CloudTransient, Quota, Throttled
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.node import TAG_CLUSTER, Leftover, LeftoverKind, Machine, MachineState, NodeOrder, Size
from gateway.testing.machine import BootPlan, SimulatedMachine
from gateway.testing.virtual_time import START, VirtualTime

T = TypeVar("T")

ZONES = ("a", "b")
STALE_S = 60.0
"""By how much a listing may lag behind."""
ENDING_S = 15.0
"""How long a machine takes to end."""

BEFORE: dict[str, type[CloudError]] = {
    "capacity": Capacity,
    "quota": Quota,
    "throttled": Throttled,
    "auth": CloudAuth,
    "invalid": CloudInvalid,
    "transient": CloudTransient,
}
"""What a call may fail with before it did anything."""

THROTTLED = "asks for fewer calls"
LOST_BEFORE, LOST_AFTER, FORGOTTEN_TOKEN = "lost before", "lost after", "forgotten token"


@dataclass
class SimulatedCloud:
    """Implements ``NodeProvider``. Conditions hold until a time; ``faults`` befall the next create calls."""

    name: str
    time: VirtualTime
    boots: Callable[[SimulatedMachine], None] = lambda _machine: None
    """Told of a machine whose system runs."""
    made: Callable[[SimulatedMachine], None] = lambda _machine: None
    ended: Callable[[SimulatedMachine], None] = lambda _machine: None
    room: int = 1000
    """Machines that a zone has room for."""
    quota: int = 1000
    faults: deque[str] = field(default_factory=deque)
    boot_plans: deque[BootPlan] = field(default_factory=deque)
    conditions: dict[str, float] = field(default_factory=dict)
    """Name → until when, in virtual seconds."""
    live: dict[str, SimulatedMachine] = field(default_factory=dict)
    by_key: dict[tuple[str, str], SimulatedMachine] = field(default_factory=dict)
    """Those that a repeated order is answered with."""
    lately_gone: deque[SimulatedMachine] = field(default_factory=deque)
    disks: dict[str, Leftover] = field(default_factory=dict)
    latency_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    count: int = 0

    def holds(self, condition: str) -> bool:
        """Whether a condition is on."""
        return self.conditions.get(condition, 0.0) > self.time.seconds

    @property
    def well(self) -> bool:
        """Whether listing and ending work and tell the truth."""
        return not any(until > self.time.seconds for name, until in self.conditions.items() if name in _HINDERS)

    def hidden(self, known: Collection[str]) -> int:
        """How many of these machines a listing lacks now that is truncated or empty, though they live."""
        alive = list(self.live)
        shown = set() if self.holds("empty") else set(alive[: len(alive) // 2] if self.holds("truncated") else alive)
        return len((set(known) & set(alive)) - shown)

    def heal(self) -> None:
        """No more faults."""
        self.conditions.clear()
        self.faults.clear()
        self.boot_plans.clear()
        self.latency_s = 0.0

    def sizes(self) -> tuple[Size, ...]:
        """See ``NodeProvider.sizes``."""
        return (Size("s", 2, 4000, 0, 1_000_000),)

    def create(self, order: NodeOrder) -> Machine:
        """See ``NodeProvider.create``."""
        return self._ordered(lambda forget: self._make((order,), "", forget=forget))[0].as_listed()

    def create_gang(self, gang: GangOrder) -> tuple[Machine, ...]:
        """See ``NodeProvider.create_gang``."""
        made = self._ordered(lambda forget: self._make(gang.orders, gang.token, forget=forget))
        return tuple(each.as_listed() for each in made)

    def machines(self, cluster: str) -> tuple[Machine, ...]:
        """See ``NodeProvider.machines``."""
        self._reachable("list")
        self._wait()
        seen = self._as_of(self.time.seconds - (STALE_S if self.holds("stale") else 0.0))
        found = [each for each in seen if each.tags.get(TAG_CLUSTER) == cluster]
        if self.holds("truncated"):
            found = found[: len(found) // 2]
        if self.holds("empty"):
            found = []
        if self.holds("repeated"):
            found = [*found, *found[:1]]
        return tuple(each.as_listed() for each in found)

    def destroy(self, machine_id: str) -> None:
        """See ``NodeProvider.destroy``."""
        self._reachable("destroy")
        self._at_the_cloud(lambda: self.end(machine_id))

    def console(self, machine_id: str) -> str:
        """See ``NodeProvider.console``."""
        self._reachable("console")
        return f"console of {machine_id}"

    def leftovers(self, cluster: str) -> tuple[Leftover, ...]:
        """See ``NodeProvider.leftovers``."""
        del cluster
        self._reachable("list")
        return tuple(self.disks.values())

    def clean(self, leftover: Leftover) -> None:
        """See ``NodeProvider.clean``."""
        self._reachable("destroy")
        self.disks.pop(leftover.id, None)

    def end(self, machine_id: str, *, at_once: bool = False) -> None:
        """End a machine, by whoever's wish."""
        machine = self.live.get(machine_id)
        if machine is None or (machine.state is MachineState.TERMINATING and not at_once):
            return
        machine.state = MachineState.TERMINATING
        if at_once:
            self._forget(machine)
        else:
            self.time.after(machine.plan.ending_s, lambda: self._forget(machine))

    def _ordered(self, make: Callable[[bool], list[SimulatedMachine]]) -> list[SimulatedMachine]:
        fault = self.faults.popleft() if self.faults else ""
        try:
            return self._taken(make, fault)
        except CloudError as error:
            self.outcomes[type(error).__name__] += 1
            raise

    def _taken(self, make: Callable[[bool], list[SimulatedMachine]], fault: str) -> list[SimulatedMachine]:
        self._reachable("create")
        if fault in BEFORE:
            raise BEFORE[fault](THROTTLED if fault == "throttled" else fault)
        if fault == LOST_BEFORE:
            raise Ambiguous("no reply")
        machines = self._at_the_cloud(lambda: make(fault == FORGOTTEN_TOKEN))
        if fault == LOST_AFTER or self.holds("silent"):
            raise Ambiguous("no reply")
        self.outcomes["made"] += 1
        return machines

    def _reachable(self, call: str) -> None:
        if self.holds("auth"):
            raise CloudAuth("the credential has expired")
        if self.holds("throttled"):
            raise Throttled(THROTTLED)
        if self.holds("outage") or self.holds(f"no {call}"):
            raise CloudTransient("unavailable")

    def _wait(self) -> None:
        self.time.sleep(self.latency_s)

    def _at_the_cloud(self, act: Callable[[], T]) -> T:
        """What ``act`` gives or raises; it happens half-way, whether the caller still waits or not."""
        if not self.latency_s:
            return act()
        outcome: list[Any] = []

        def perform() -> None:
            try:
                outcome.append(act())
            except CloudError as error:
                outcome.append(error)

        self.time.after(self.latency_s / 2, perform)
        self._wait()
        if isinstance(outcome[0], CloudError):
            raise outcome[0]
        found: T = outcome[0]
        return found

    def _make(self, orders: tuple[NodeOrder, ...], gang: str, *, forget: bool) -> list[SimulatedMachine]:
        known = {} if forget else self.by_key
        if all((gang or order.token, order.node) in known for order in orders):
            return [known[gang or order.token, order.node] for order in orders]
        for each in filter(None, (known.get((gang or order.token, order.node)) for order in orders)):
            # A gang is whole or is not: as the adapters do, what is left of it ends before it is made again.
            self._forget(each)
        zone = self._zone(orders)
        made = [self._machine(order, zone, gang, number) for number, order in enumerate(orders)]
        for each in made:
            each.forgotten = forget
        for each in made:
            self.made(each)
        return made

    def _zone(self, orders: tuple[NodeOrder, ...]) -> str:
        if len(self.live) + len(orders) > self.quota or self.holds("quota"):
            raise Quota("the quota is used up")
        for zone in (orders[0].zone,) if orders[0].zone else ZONES:
            used = sum(each.zone == zone for each in self.live.values())
            if used + len(orders) <= self.room and not self.holds(f"out of {zone}"):
                return zone
        raise Capacity("no room")

    def _machine(self, order: NodeOrder, zone: str, gang: str, number: int) -> SimulatedMachine:
        self.count += 1
        plan = self.boot_plans.popleft() if self.boot_plans else BootPlan()
        machine = SimulatedMachine(
            id=f"i-{self.count}",
            cloud=self.name,
            order=order,
            zone=zone,
            made_at=self.time.seconds,
            created_at=START + timedelta(seconds=self.time.seconds) + plan.skew,
            plan=plan,
            gang=gang,
            number=number if gang else None,
            tags=dict(order.tags),
        )
        self.live[machine.id] = machine
        self.by_key.setdefault(machine.key, machine)
        if plan.no_room:
            machine.state, machine.no_room = MachineState.ERROR, "no room after all"
        elif plan.boot_s is not None:
            self.time.after(plan.boot_s, lambda: self._run(machine))
        return machine

    def _run(self, machine: SimulatedMachine) -> None:
        if machine.state is MachineState.PENDING and machine.id in self.live:
            machine.state = MachineState.RUNNING
            self.boots(machine)

    def _forget(self, machine: SimulatedMachine) -> None:
        if self.live.pop(machine.id, None) is None:
            return
        if self.by_key.get(machine.key) is machine:
            del self.by_key[machine.key]
        machine.gone_at = self.time.seconds
        self.lately_gone.append(machine)
        if machine.plan.leaves_disk:
            disk = f"d-{machine.id}"
            self.disks[disk] = Leftover(disk, LeftoverKind.DISK, machine.order.node, machine.created_at)
        self.ended(machine)

    def _as_of(self, at: float) -> list[SimulatedMachine]:
        while self.lately_gone and (self.lately_gone[0].gone_at or 0.0) < self.time.seconds - STALE_S:
            self.lately_gone.popleft()
        if at >= self.time.seconds:
            return list(self.live.values())
        gone = [each for each in self.lately_gone if (each.gone_at or 0.0) > at]
        return [each for each in (*gone, *self.live.values()) if each.made_at <= at]


_HINDERS = frozenset({"auth", "throttled", "outage", "stale", "truncated", "empty", "no list", "no destroy"})
