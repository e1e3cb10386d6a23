"""Run: one history from its bytes to the rest after it, watched all the way.

Invariant: the same bytes give the same run; a run that breaks an invariant raises its Violation.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.testing.convergence import converge
from gateway.testing.history import EVENT, HEADER, play, shape_of
from gateway.testing.invariants import NoOrphan, checkers
from gateway.testing.world import Observer, Violation, World

LEAST_EVENTS, MOST_EVENTS = 4, 14


@dataclass
class Tally:
    """What many runs went through."""

    runs: int = 0
    node_events: int = 0
    """Moves of nodes, machines made and ended, and what the histories did to them."""
    states: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of orders, by class of error."""
    jobs: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    worst_orphan_s: float = 0.0
    loops: Counter[int] = field(default_factory=Counter)
    """How many loops a node stood about, at most, once all was well."""
    virtual_s: float = 0.0

    def add(self, world: World, loops: int) -> None:
        """One more."""
        self.runs += 1
        self.loops[loops] += 1
        self.restarts += world.restarts - 1
        self.virtual_s += world.time.seconds
        kinds = world.stored.kinds()
        self.states.update(kinds)
        self.node_events += kinds.total()
        for cloud in world.clouds.values():
            self.outcomes.update(cloud.outcomes)
            self.node_events += 2 * cloud.count
        self.node_events += world.node_events
        for job in world.slurm.jobs.values():
            self.jobs[job.state] += 1
            self.jobs["requeued"] += job.restarts
        for observer in world.observers:
            if isinstance(observer, NoOrphan):
                self.worst_orphan_s = max(self.worst_orphan_s, observer.worst_s)


NewWorld = Callable[[bytes, tuple[Observer, ...]], World]


def in_memory(history: bytes, observers: tuple[Observer, ...]) -> World:
    """A world whose nodes are stored in memory."""
    return World(shape_of(history), observers)


def run(history: bytes, tally: Tally | None = None, new_world: NewWorld = in_memory) -> World:
    """Let a history happen, then let the world come to rest. Raises Violation."""
    world = new_world(history, checkers())
    play(history, world)
    loops = converge(world)
    if tally is not None:
        tally.add(world, loops)
    return world


def any_history(source: random.Random) -> bytes:
    """A history by lot."""
    return source.randbytes(HEADER + EVENT * source.randint(LEAST_EVENTS, MOST_EVENTS))


def shorter(history: bytes, number: int, new_world: NewWorld = in_memory) -> bytes:
    """As little of a history as still breaks the invariant ``number``: events are cut as long as it does."""
    shrunk = True
    while shrunk:
        shrunk = False
        for at in range(HEADER, len(history), EVENT):
            less = history[:at] + history[at + EVENT :]
            if _breaks(less, number, new_world):
                history, shrunk = less, True
                break
    return history


def _breaks(history: bytes, number: int, new_world: NewWorld) -> bool:
    try:
        run(history, new_world=new_world)
    except Violation as violation:
        return violation.number == number
    return False
