"""History: what happens to a world, as bytes: three an event, so that a failing one can be cut and made simpler.

Invariant: every string of bytes is a history, the same bytes are the same history, and of zero bytes nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from gateway.provisioning.node import MachineState
from gateway.testing.cloud import FORGOTTEN_TOKEN, LOST_AFTER, LOST_BEFORE, SimulatedCloud
from gateway.testing.machine import BootPlan, SimulatedMachine
from gateway.testing.world import LOOP_S, Shape, World

HEADER = 1
EVENT = 3

_SHAPES = (
    Shape(),
    Shape(2, ("alpha",)),
    Shape(4, ("alpha", "beta"), most=2),
    Shape(3, ("alpha", "beta"), zones=True),
    Shape(3, ("alpha", "beta"), most=2, zones=True),
    Shape(8, ("alpha", "beta")),
)

_FAULTS = ("capacity", LOST_AFTER, LOST_BEFORE, "throttled", "transient", "quota", "auth", FORGOTTEN_TOKEN)

_CONDITIONS = (
    "outage", "stale", "no list", "no destroy", "auth", "throttled", "silent", "truncated", "empty", "repeated",
    "out of a", "out of b", "quota",
)  # fmt: skip

_PLANS = (
    BootPlan(boot_s=None),
    BootPlan(join_s=None),
    BootPlan(no_room=True),
    BootPlan(slurmd_s=None),
    BootPlan(boot_s=200.0),
    BootPlan(join_s=290.0),
    BootPlan(ending_s=700.0),
    BootPlan(leaves_disk=True),
    BootPlan(short=True),
    BootPlan(skew=timedelta(minutes=5)),
    BootPlan(skew=timedelta(minutes=-5)),
)


def shape_of(history: bytes) -> Shape:
    """The world that a history is of."""
    return _SHAPES[history[0] % len(_SHAPES)] if history else _SHAPES[0]


def play(history: bytes, world: World) -> None:
    """Let it happen."""
    body = history[HEADER:]
    for at in range(0, len(body) - len(body) % EVENT, EVENT):
        kind, a, b = body[at : at + EVENT]
        world.node_events += 1
        EVENTS[kind % len(EVENTS)].act(world, a, b)


def told(history: bytes) -> str:
    """A history in words, one line an event."""
    body = history[HEADER:]
    lines = [f"world: {shape_of(history)}"]
    for at in range(0, len(body) - len(body) % EVENT, EVENT):
        kind, a, b = body[at : at + EVENT]
        lines.append(f"{EVENTS[kind % len(EVENTS)].name} {a} {b}")
    return "\n".join(lines)


def _time(world: World, a: int, b: int) -> None:
    world.passes(LOOP_S * (1 + a % 4) if b % 8 else 5.0 * (a % 6))


def _job(world: World, a: int, b: int) -> None:
    most = min(3, world.shape.nodes, world.shape.most or 3)
    for _ in range(1 + b // 192):
        world.slurm.take(1 + a % most, 30.0 * (1 + b % 16))
    world.passes(LOOP_S)


def _cancel(world: World, a: int, _b: int) -> None:
    if world.slurm.open_jobs and not world.slurm.away:
        jobs = list(world.slurm.open_jobs.values())
        world.slurm.scancel(jobs[a % len(jobs)])


def _requeue(world: World, a: int, _b: int) -> None:
    running = [job for job in world.slurm.open_jobs.values() if job.state == "RUNNING"]
    if running and not world.slurm.away:
        world.slurm.scontrol_requeue(running[a % len(running)])


def _fault(world: World, a: int, b: int) -> None:
    _cloud(world, b).faults.append(_FAULTS[a % len(_FAULTS)])


def _condition(world: World, a: int, b: int) -> None:
    cloud = _cloud(world, b)
    lasts = LOOP_S * (1 + b // 8 % 8)
    cloud.conditions[_CONDITIONS[a % len(_CONDITIONS)]] = world.time.seconds + lasts


def _slow(world: World, a: int, b: int) -> None:
    _cloud(world, b).latency_s = (0.0, 2.0, 20.0, 70.0)[a % 4]
    world.time.sleepy = True


def _plan(world: World, a: int, b: int) -> None:
    _cloud(world, b).boot_plans.append(_PLANS[a % len(_PLANS)])


def _stop(machine: SimulatedMachine, _world: World) -> None:
    machine.state, machine.answers = MachineState.STOPPED, False


def _vanish(machine: SimulatedMachine, world: World) -> None:
    world.clouds[machine.cloud].end(machine.id, at_once=True)


def _hang(machine: SimulatedMachine, _world: World) -> None:
    machine.answers = False


def _preempt(machine: SimulatedMachine, world: World) -> None:
    world.preempt(machine)


def _break(machine: SimulatedMachine, _world: World) -> None:
    machine.state, machine.answers = MachineState.ERROR, False


def _return(machine: SimulatedMachine, _world: World) -> None:
    machine.answers = machine.joined and machine.state is MachineState.RUNNING


_TO_MACHINES = (_stop, _vanish, _hang, _preempt, _break, _return)


def _machine(world: World, a: int, b: int) -> None:
    if machines := world.machines:
        _TO_MACHINES[b % len(_TO_MACHINES)](machines[a % len(machines)], world)


def _kill(world: World, a: int, b: int) -> None:
    world.kill(a % 32, 5.0 * (b % 32))
    world.passes(LOOP_S)


def _slurm(world: World, a: int, b: int) -> None:
    if a % 2:
        world.slurm.restart(LOOP_S * (1 + b % 4))
    else:
        world.slurm.deaf_until = world.time.seconds + LOOP_S * (1 + b % 6)


def _calls(world: World, a: int, b: int) -> None:
    """Slurm's programs: a call comes twice, late, or an old one again."""
    match a % 3:
        case 0:
            world.doubled_calls += 1
        case 1:
            world.held_calls = 1 + b % 12
        case _ if world.spool.past:
            world.replay(*world.spool.past[b % len(world.spool.past)])


def _admin(world: World, a: int, b: int) -> None:
    node = world.slurm.known[sorted(world.slurm.known)[a % len(world.slurm.known)]]
    if b % 3:
        world.slurm.scontrol_drain(node, "broken fan")
    else:
        world.slurm.scontrol_resume(node)


def _stray(world: World, a: int, b: int) -> None:
    names = ("small-1", "small-2", "nobody-7")
    world.lay(_cloud(world, b), names[a % len(names)], b // 8)


def _word(world: World, a: int, b: int) -> None:
    node = world.slurm.known[sorted(world.slurm.known)[a % len(world.slurm.known)]]
    node.strange = "" if node.strange else "LEVITATING"
    if b % 2:
        world.passes(LOOP_S * (1 + b % 16))


def _cloud(world: World, number: int) -> SimulatedCloud:
    return tuple(world.clouds.values())[number % len(world.clouds)]


@dataclass(frozen=True)
class Event:
    """Something that may happen; ``act(world, a, b)`` with two bytes that say how."""

    name: str
    act: Callable[[World, int, int], None]


EVENTS = (
    Event("time passes", _time),
    Event("job", _job),
    Event("fault of the next order", _fault),
    Event("condition of a cloud", _condition),
    Event("gateway ends", _kill),
    Event("machine", _machine),
    Event("time passes", _time),
    Event("job", _job),
    Event("next machine", _plan),
    Event("slurmctld", _slurm),
    Event("calls of Slurm's programs", _calls),
    Event("cancel", _cancel),
    Event("requeue", _requeue),
    Event("slow cloud", _slow),
    Event("admin", _admin),
    Event("stray machine", _stray),
    Event("strange word", _word),
    Event("time passes", _time),
)
