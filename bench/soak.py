"""``python -m bench.soak``: random histories until a million node-events have happened, from one seed; ``make soak``.

A history that breaks an invariant is cut to what it takes and told event by event; ``--history HEX`` tells one again.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from gateway.testing.history import shape_of, told
from gateway.testing.invariants import checkers
from gateway.testing.run import NewWorld, Tally, any_history, in_memory, run, shorter
from gateway.testing.sql_nodes import SqlNodes
from gateway.testing.world import Observer, Violation, World

MILLION = 1_000_000
SQL_EVERY = 50
"""One history in so many has its nodes in SQLite, by the repository of production: it takes ten times as long."""
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


def main() -> int:
    """Run, or tell one history. 1 if an invariant was broken."""
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.freeze()
    if options.history:
        return _tell(bytes.fromhex(options.history))
    print(f"seed {options.seed}: again with `make soak SEED={options.seed}`", flush=True)
    with _stored() as in_sql:
        return _soak(options, in_sql)


def _soak(options: argparse.Namespace, in_sql: NewWorld) -> int:
    source, tally, begun, said = random.Random(options.seed), Tally(), time.monotonic(), 0.0
    while tally.node_events < options.events:
        history = any_history(source)
        new_world = in_sql if tally.runs % SQL_EVERY == SQL_EVERY - 1 else in_memory
        try:
            run(history, tally, new_world)
        except Violation as violation:
            return _broken(history, violation, new_world)
        if time.monotonic() - said > options.every:
            said = time.monotonic()
            print(f"{tally.node_events:>9,} events  {tally.runs:>7,} histories  {said - begun:6.0f} s", flush=True)
    report(tally, time.monotonic() - begun)
    return 0


def report(tally: Tally, seconds: float) -> None:
    """What happened, and what came of it."""
    print(f"\n{tally.node_events:,} node-events in {tally.runs:,} histories, {seconds:.0f} s")
    print(f"{tally.virtual_s / 86400:,.0f} days of virtual time, {tally.restarts:,} deaths of the gateway")
    print("\nstates entered")
    for kind, count in tally.states.most_common():
        print(f"  {kind:<20}{count:>10,}")
    print("\norders by outcome")
    for kind, count in tally.outcomes.most_common():
        print(f"  {kind:<20}{count:>10,}")
    print("\njobs")
    for kind, count in tally.jobs.most_common():
        print(f"  {kind:<20}{count:>10,}")
    print(f"\noldest orphan: {tally.worst_orphan_s:.0f} s in sight (I1: at most 600)")
    print("loops that a node stood about once all was well (I13: at most 5)")
    for loops in sorted(tally.loops):
        print(f"  {loops:<20}{tally.loops[loops]:>10,}")


def _broken(history: bytes, violation: Violation, new_world: NewWorld) -> int:
    print(f"\n{violation}\nhistory {history.hex()}", flush=True)
    less = shorter(history, violation.number, new_world)
    print(f"cut to  {less.hex()}\n{told(less)}\nagain with `python -m bench.soak --history {less.hex()}`")
    return 1


class _Teller(Observer):
    """Prints what happens."""

    def __init__(self) -> None:
        self._before: object = None

    def looked(self, world: World, passed_s: float) -> None:
        del passed_s
        slurm = {node.name: "+".join(sorted(node.states - {"CLOUD"})) for node in world.slurm.known.values()}
        stored = {name: f"{node.state.value} {node.generation}" for name, node in world.nodes.items()}
        now = stored, slurm, [f"{each.outer_id} {each.state.value}" for each in world.machines]
        if now != self._before:
            self._before = now
            for name, state in stored.items():
                _say(world, f"{name}: {state}; Slurm: {slurm[name]}")
            _say(world, f"machines: {', '.join(now[2])}")

    def made(self, world, machine):
        _say(world, f"made {machine.outer_id} for {machine.node} by {machine.order.supply}")

    def called(self, world, call, what):
        if call != "listed":
            _say(world, f"calls {call} {what}")

    def set(self, world, node, state):
        _say(world, f"sets {node.name} {state}")


def _say(world: World, text: str) -> None:
    print(f"  {world.time.seconds:9.2f}  {text}")


def _tell(history: bytes) -> int:
    print(told(history))
    world = World(shape_of(history), (_Teller(), *checkers()))
    try:
        run(history, new_world=lambda _history, _observers: world)
    except Violation as violation:
        print(violation)
    for name in world.nodes:
        with world.stored.begin() as fleet:
            for event in fleet.timeline(name):
                print(f"{name}  {event.at:%H:%M:%S}  {event.kind}  {event.text}")
    return int(bool(world.broken))


@contextmanager
def _stored() -> Iterator[NewWorld]:
    """Makes worlds whose nodes are in SQLite, in memory where there is such a folder."""
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
    nodes = SqlNodes(folder)
    try:
        yield lambda history, observers: World(shape_of(history), observers, nodes.emptied())
    finally:
        nodes.close()
        shutil.rmtree(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9), help="of all histories")
    parser.add_argument("--events", type=int, default=MILLION, help="node-events to make")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two lines of progress")
    parser.add_argument("--history", help="tell this one, in hexadecimal")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
