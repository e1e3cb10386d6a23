"""Convergence: what becomes of a world in which nothing goes wrong any more.

Invariant: it is the world's clock that ends waits; a loop counts only in which somebody was there, had something to do
and nothing to wait for.
"""

from __future__ import annotations

from collections import Counter

from gateway.provisioning.lifecycle import DEADLINE_S, USABLE, Limits, NodeState
from gateway.testing.world import LOOP_S, Violation, World

MOST_LOOPS = 5
_LONGEST_S = 4 * 3600.0
_BACK_OFF_S = 600.0


def heal(world: World) -> None:
    """No more faults: clouds, Slurm and the gateway are up and well; what broke stays broken."""
    for cloud in world.clouds.values():
        cloud.heal()
    world.slurm.away_until = world.slurm.deaf_until = min(world.slurm.away_until, world.time.seconds)
    world.doubled_calls = world.held_calls = world.lost_calls = 0
    world.down_s = 0.0
    if world.process is not None:
        world.process.dies_in = None
    for node in world.slurm.known.values():
        node.strange = ""
        if "DRAIN" in node.flags and not node.reason.startswith("gateway:"):
            world.slurm.scontrol_resume(node)


def converge(world: World) -> int:
    """Run until all jobs have ended and all nodes are off; the most loops that a node stood about. I5, I13.

    Raises Violation.
    """
    heal(world)
    idle: Counter[str] = Counter()
    until = world.time.seconds + _LONGEST_S
    while not at_rest(world):
        if world.time.seconds > until:
            raise Violation(*_unrest(world))
        absent = world.process is None
        world.passes(LOOP_S)
        world.node_events += 1
        if absent:
            continue  # the loop in which the gateway comes back has not begun with it
        for name in world.nodes:
            if not settled(world, name) and not waits(world, name):
                idle[name] += 1
                if idle[name] > MOST_LOOPS:
                    raise Violation(13, f"{world.nodes[name]} is not settled after {MOST_LOOPS} loops")
    return max(idle.values(), default=0)


def at_rest(world: World) -> bool:
    """No job is open, no machine lives, and Slurm can use every node again."""
    return (
        not world.slurm.open_jobs
        and not world.machines
        and all(node.state is NodeState.OFF and not node.wanted for node in world.nodes.values())
        and all(node.states == {"IDLE", "CLOUD", "POWERED_DOWN"} for node in world.slurm.known.values())
    )


def settled(world: World, name: str) -> bool:
    """Off with no machine wanted, or in use with one that runs."""
    node = world.nodes[name]
    if node.state is NodeState.OFF:
        return not node.wanted
    return node.state in USABLE and any(
        machine.outer_id == node.machine_id and machine.answers for machine in world.machines
    )


def waits(world: World, name: str) -> bool:
    """Whether the clock has yet to bring what a node waits for: a boot, an end, a back-off."""
    node = world.nodes[name]
    age = (world.time.now() - node.since).total_seconds()
    limits = DEADLINE_S | {NodeState.CAPACITY_BLOCKED: _BACK_OFF_S, NodeState.AMBIGUOUS: LOOP_S}
    if node.state in USABLE:
        return True  # Slurm has it, and finds out by its own clock that it does not answer
    if node.wanted_with > 1:
        limits |= {NodeState.INTENT: Limits().gang_wait_s, NodeState.REQUESTED: LOOP_S}
    if node.state in _LEAVING and world.slurm.known[name].job is not None:
        return True  # a replayed suspend: its job is let end, within its own deadline
    return age <= limits.get(node.state, 0.0) or any(
        machine.order.node == name and machine.state == "terminating" for machine in world.machines
    )


_LEAVING = frozenset({NodeState.DRAINING, NodeState.STAGING_OUT, NodeState.PREEMPTING})


def _unrest(world: World) -> tuple[int, str]:
    if world.slurm.open_jobs:
        job = next(iter(world.slurm.open_jobs.values()))
        nodes = {name: (node.states, node.reason) for name, node in world.slurm.known.items()}
        return 5, f"job {job.id} is still {job.states} with {nodes} and {world.states}"
    if world.machines:
        machine = world.machines[0]
        return 1, f"{machine.outer_id} for {machine.node} lives on as {machine.state}; {world.states}"
    nodes = {name: (node.states, node.reason) for name, node in world.slurm.known.items()}
    return 13, f"{world.states} and {nodes}"
