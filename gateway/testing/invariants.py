"""What must hold in every world at every moment, whatever happens: the invariants that a simulation can see.

Invariant: a checker believes nobody but the clouds, Slurm and the stored rows; it asks none of the code that it checks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import DEADLINE_S, Limits, NodeState
from gateway.provisioning.node import MachineState
from gateway.testing.cloud import STALE_S, THROTTLED
from gateway.testing.machine import SimulatedMachine
from gateway.testing.slurm_job import SlurmJob
from gateway.testing.slurm_node import SlurmNode
from gateway.testing.world import LOOP_S, Observer, Violation, World

ORPHAN_S = 600.0
"""I1: so long after it could be seen a machine of nobody is gone."""
TWO_LOOPS_S = 2 * LOOP_S
REQUEUE_S = 60.0
UNSEEN_S = 60.0 + LOOP_S
"""I15: three rounds of looking after what there is at a cloud, or a minute."""
DOUBTFUL, DOUBTFUL_SHARE = 5, 0.3
"""I11: that so many machines, and so great a part of them, are gone at once is not believed."""
GANG_S = Limits().gang_wait_s + 4 * LOOP_S
"""I6: for the gang itself, and for two looks until what there is of it ends."""
ROOM_S = Limits().capacity_wait_s + 4 * LOOP_S
"""I6: for a node that no cloud has room for, while another of its job is in service from before."""


def owner(world: World, machine: SimulatedMachine) -> ElasticNode | None:
    """The open node that a machine is the present machine of, or may be."""
    node = world.nodes.get(machine.order.node)
    if node is None or node.state is NodeState.OFF or node.generation != machine.order.generation:
        return None
    if node.machine_id is None and node.state in _WITHOUT_ORDER:
        return None
    return node if node.machine_id in {None, machine.outer_id} else None


def unhindered(world: World, machine: SimulatedMachine) -> bool:
    """Whether the gateway is up and can see and end a machine, and nothing lies to it."""
    return world.process is not None and world.clouds[machine.cloud].well


@dataclass
class NoOrphan(Observer):
    """I1: every machine belongs to an open intent, or is gone within ten minutes of being seen."""

    ages: dict[SimulatedMachine, float] = field(default_factory=lambda: defaultdict(float))
    worst_s: float = 0.0

    def looked(self, world: World, passed_s: float) -> None:
        """See ``Observer.looked``."""
        for machine in world.machines:
            if owner(world, machine) is not None:
                self.ages.pop(machine, None)
            elif unhindered(world, machine) and machine.state is not MachineState.TERMINATING:
                self.ages[machine] += passed_s
                self.worst_s = max(self.worst_s, self.ages[machine])
                if self.ages[machine] > ORPHAN_S:
                    raise Violation(1, f"{machine.outer_id} for {machine.node} belongs to nobody")


@dataclass
class OneMachine(Observer):
    """I2: a node's generation has one machine; of a node's generations one is alive, but for two loops."""

    together: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def made(self, world: World, machine: SimulatedMachine) -> None:
        """See ``Observer.made``."""
        same = [each for each in world.machines if each.node == machine.node and each.made_by_order and _counts(each)]
        if len(same) > 1 and not any(each.forgotten for each in same):
            raise Violation(2, f"{machine.node} has {[each.outer_id for each in same]}")

    def looked(self, world: World, passed_s: float) -> None:
        """See ``Observer.looked``."""
        generations: dict[str, dict[int, SimulatedMachine]] = defaultdict(dict)
        for machine in world.machines:
            if machine.made_by_order and _counts(machine):
                generations[machine.order.node][machine.order.generation] = machine
        for name, alive in generations.items():
            if len(alive) < 2:  # noqa: PLR2004 - one is as it should be
                self.together.pop(name, None)
            elif all(unhindered(world, machine) for machine in alive.values()):
                self.together[name] += passed_s
                # Two looks to be sure of what belongs to nobody, after the longest lag of a listing.
                if self.together[name] > TWO_LOOPS_S + STALE_S + 2 * LOOP_S:
                    raise Violation(2, f"{name} lives in the generations {sorted(alive)}")


@dataclass
class NotTooMany(Observer):
    """I3: never are more machines of a cloud's size alive or on their way than may be."""

    most_seen: Counter[str] = field(default_factory=Counter)

    def made(self, world: World, machine: SimulatedMachine) -> None:
        """See ``Observer.made``."""
        alive = sum(each.made_by_order and not each.forgotten for each in world.clouds[machine.cloud].live.values())
        self.most_seen[machine.cloud] = max(alive, self.most_seen[machine.cloud])
        if alive > world.shape.nodes:
            raise Violation(3, f"{alive} machines for {world.shape.nodes} nodes at {machine.cloud}")
        if world.shape.most is not None and alive > world.shape.most:
            raise Violation(3, f"{alive} machines at {machine.cloud}, which may have {world.shape.most}")


@dataclass
class NoLoss(Observer):
    """I11, I18, I19, I24: a machine that does its job is not ended, nor its node set down, on no evidence."""

    def called(self, world: World, call: str, what: str) -> None:
        """See ``Observer.called``."""
        if call == "destroy":
            machine = next((each for each in world.machines if each.outer_id == what), None)
            if machine is not None and at_work(world, machine):
                raise Violation(_blame(world, machine), f"{what} is ended with a job on {machine.node}")

    def set(self, world: World, node: SlurmNode, state: str) -> None:
        """See ``Observer.set``."""
        if state == "DOWN":
            machine = next((each for each in world.machines if each.order.node == node.name), None)
            if machine is not None and at_work(world, machine):
                raise Violation(_blame(world, machine), f"{node.name} is set down with a job on it")


@dataclass
class SeenTwice(Observer):
    """I11: no machine is ended as nobody's that was not nobody's at two looks."""

    listed: set[str] = field(default_factory=set)
    nobodys: set[SimulatedMachine] = field(default_factory=set)
    """Those that were nobody's when their cloud was last read."""

    def ticked(self, world: World) -> None:
        """See ``Observer.ticked``."""
        for cloud in self.listed:
            found = [each for each in world.clouds[cloud].live.values() if owner(world, each) is None]
            self.nobodys = {each for each in self.nobodys if each.cloud != cloud}.union(found)
        self.listed.clear()

    def called(self, world: World, call: str, what: str) -> None:
        """See ``Observer.called``."""
        if call == "listed":
            self.listed.add(what)
        elif call == "destroy":
            machine = next((each for each in world.machines if each.outer_id == what), None)
            if machine is None or owner(world, machine) or machine in self.nobodys or what in world.stored.strays:
                return
            node = world.nodes.get(machine.order.node)
            if node is None or (node.state, node.generation) != (NodeState.TERMINATING, machine.order.generation):
                raise Violation(11, f"{what} is ended at first sight")


@dataclass
class Doubtful(Observer):
    """I11: nothing is done about a machine because of a listing that suddenly lacks many."""

    def called(self, world: World, call: str, what: str) -> None:
        """See ``Observer.called``."""
        if call == "destroy":
            self._judge(world, next((each for each in world.machines if each.outer_id == what), None))

    def set(self, world: World, node: SlurmNode, state: str) -> None:
        """See ``Observer.set``."""
        if state == "DOWN":
            stored = world.nodes[node.name]
            self._judge(world, next((each for each in world.machines if each.outer_id == stored.machine_id), None))

    @staticmethod
    def _judge(world: World, machine: SimulatedMachine | None) -> None:
        if machine is None or not machine.healthy or machine.order.node in world.replayed:
            return
        node, cloud = owner(world, machine), world.clouds[machine.cloud]
        if node is None or node.state not in _ON_THE_WAY or not (cloud.holds("empty") or cloud.holds("truncated")):
            return
        age = (world.time.now() - node.since).total_seconds()
        listed = [each for each in world.nodes.values() if each.machine_id and each.state in _ON_THE_WAY]
        there = [each for each in listed if (each.supply or "").startswith(f"{cloud.name}/")]
        hidden = cloud.hidden({str(each.machine_id).rpartition("/")[2] for each in there})
        if hidden >= DOUBTFUL and hidden > DOUBTFUL_SHARE * len(there) and age < DEADLINE_S.get(node.state, age + 1):
            raise Violation(11, f"{machine.outer_id} is given up for a listing that lacks {hidden} of {len(there)}")


class AsPromised(Observer):
    """I21: no job runs on a machine that has less than its size promises."""

    def looked(self, world: World, passed_s: float) -> None:
        """See ``Observer.looked``."""
        del passed_s
        for machine in world.machines:
            if machine.plan.short and machine.joined and _job_on(world, machine) and owner(world, machine):
                raise Violation(21, f"a job runs on {machine.outer_id}, which is {machine.node}")


@dataclass
class NoBlame(Observer):
    """I12: that a cloud asks for fewer calls blocks no supply and fails no node."""

    def looked(self, world: World, passed_s: float) -> None:
        """See ``Observer.looked``."""
        del passed_s
        for node in world.nodes.values():
            if node.state in _GIVEN_UP and THROTTLED in node.reason:
                raise Violation(12, f"{node.name} is {node.state}: {node.reason}")
        for slurm in world.slurm.known.values():
            if THROTTLED in slurm.reason:
                raise Violation(12, f"{slurm.name} is {set(slurm.states)}: {slurm.reason}")


@dataclass
class AdminsDrain(Observer):
    """I23: what an administrator drained, nobody else takes back."""

    def set(self, world: World, node: SlurmNode, state: str) -> None:
        """See ``Observer.set``."""
        del world
        out = "DRAIN" in node.flags or node.base == "DOWN"
        ours = node.reason.startswith(("gateway:", "ResumeTimeout reached", "Not responding"))
        if state == "RESUME" and out and not ours:
            raise Violation(23, f"{node.name} was drained for {node.reason!r}")


@dataclass
class WithCause(Observer):
    """I15: nothing is ordered that Slurm did not ask for, nor where nobody looks after what there is."""

    listed_at: dict[str, float] = field(default_factory=dict)
    asked_at: dict[str, float] = field(default_factory=dict)

    def made(self, world: World, machine: SimulatedMachine) -> None:
        """See ``Observer.made``."""
        if machine.order.node not in world.asked:
            raise Violation(15, f"nobody asked for {machine.node}")
        seen = max(self.listed_at.get(machine.cloud, 0.0), world.started_at)
        since = self.asked_at.get(machine.order.node, 0.0) - seen
        if since > UNSEEN_S:
            raise Violation(15, f"{machine.node} is made at {machine.cloud}, out of sight for {since:.0f} s")

    def called(self, world: World, call: str, what: str) -> None:
        """See ``Observer.called``."""
        if call == "listed":
            self.listed_at[what] = world.time.seconds
        elif call == "create":
            self.asked_at[what] = world.time.seconds


@dataclass
class Requeued(Observer):
    """I14: a job whose machine was stopped is queued again within two loops of when it could be seen."""

    lost: dict[SimulatedMachine, float] = field(default_factory=lambda: defaultdict(float))

    def looked(self, world: World, passed_s: float) -> None:
        """See ``Observer.looked``."""
        for machine in world.machines:
            if machine.state is not MachineState.STOPPED or _job_on(world, machine) is None:
                self.lost.pop(machine, None)
            elif unhindered(world, machine) and _slurm_reached(world) and owner(world, machine) is not None:
                self.lost[machine] += passed_s
                if self.lost[machine] > REQUEUE_S + LOOP_S:
                    raise Violation(14, f"the job on {machine.node} waits for a machine that stopped")


@dataclass
class WholeGangs(Observer):
    """I6: a part of the machines that a job needs together does not stay alone for longer than a gang is waited for.

    A part that was in service before, and waits for the rest to find room, waits as long as room is waited for.
    """

    alone: dict[tuple[int, float | None, bool], float] = field(default_factory=lambda: defaultdict(float))
    worst_s: float = 0.0

    def looked(self, world: World, passed_s: float) -> None:
        """See ``Observer.looked``."""
        for job in world.slurm.open_jobs.values():
            if job.state != "RUNNING" or job.started_at is not None or len(job.nodes) == 1:
                continue
            blocked = _waits_for_room(world, job)
            key = job.id, job.placed_at, blocked
            if not _parted(world, job.nodes):
                for room in (False, True):
                    self.alone.pop((job.id, job.placed_at, room), None)
            elif world.process is not None and _slurm_reached(world) and all(c.well for c in world.clouds.values()):
                self.alone[key] += passed_s
                self.worst_s = max(self.worst_s, self.alone[key])
                if self.alone[key] > (ROOM_S if blocked else GANG_S):
                    states = {name: world.nodes[name].state for name in job.nodes}
                    raise Violation(6, f"job {job.id} has a part of its machines: {states}")


def at_work(world: World, machine: SimulatedMachine) -> bool:
    """Whether a job runs on a machine, and neither it nor anybody's word is a reason to end it."""
    node = world.nodes.get(machine.order.node)
    mine = node is not None and node.generation == machine.order.generation and node.machine_id == machine.outer_id
    if not mine or not machine.healthy or not machine.answers:
        return False
    return _job_on(world, machine) is not None


def _job_on(world: World, machine: SimulatedMachine) -> int | None:
    node = world.slurm.known.get(machine.order.node)
    if node is None or node.job is None or node.base != "IDLE" or not node.up:
        return None
    job = world.slurm.open_jobs.get(node.job)
    return job.id if job is not None and job.started_at is not None else None


def _waits_for_room(world: World, job: SlurmJob) -> bool:
    """Whether some of its nodes have no room, and the others were in service before it got them."""
    theirs = [machine.made_at for machine in world.machines if machine.order.node in job.nodes and _counts(machine)]
    before = all(made_at < (job.placed_at or 0.0) for made_at in theirs)
    return before and any(world.nodes[name].state is NodeState.CAPACITY_BLOCKED for name in job.nodes)


def _parted(world: World, names: tuple[str, ...]) -> bool:
    """Whether some of these nodes have a machine, and others none."""
    alive = {each.order.node for each in world.machines if _counts(each) and owner(world, each) is not None}
    return bool(alive & set(names)) and not alive >= set(names)


def _slurm_reached(world: World) -> bool:
    return not world.slurm.away and world.time.seconds >= world.slurm.deaf_until


def _blame(world: World, machine: SimulatedMachine) -> int:
    cloud = world.clouds[machine.cloud]
    if cloud.holds("auth"):
        return 18
    if world.slurm.known[machine.order.node].strange:
        return 19
    return 24 if machine.plan.skew else 11


_ON_THE_WAY = frozenset({NodeState.BOOTING, NodeState.BOOTSTRAPPED, NodeState.IDLE, NodeState.BUSY})
"""A listing has had its machine, and nobody has said that it is to end."""
_WITHOUT_ORDER = frozenset({NodeState.INTENT, NodeState.CAPACITY_BLOCKED})
_GIVEN_UP = frozenset({NodeState.CAPACITY_BLOCKED, NodeState.FAILED_BOOT})


def _counts(machine: SimulatedMachine) -> bool:
    return machine.state is not MachineState.TERMINATING


def checkers() -> tuple[Observer, ...]:
    """One of each."""
    return (
        NoOrphan(),
        OneMachine(),
        NotTooMany(),
        WholeGangs(),
        NoLoss(),
        SeenTwice(),
        Doubtful(),
        NoBlame(),
        AsPromised(),
        Requeued(),
        WithCause(),
        AdminsDrain(),
    )
