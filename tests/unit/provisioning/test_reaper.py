"""The reaper: what was seen twice ends, one that does not end stops nothing, and its heartbeat tells that it looks."""

from __future__ import annotations

import pytest

from gateway.errors import CloudTransient, DatabaseUnavailable
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Leftover, LeftoverKind, Machine, MachineState
from gateway.provisioning.reaper import EVERY_S, LEFTOVERS_EVERY_S, PATIENCE_S, ROUNDS, Heartbeat, Reaper

STRAY = Machine("m-1", "small-1", 1, "t", MachineState.RUNNING, None)


class Attic:
    """What machines left behind; ``stuck`` cannot be removed."""

    def __init__(self, *names: str) -> None:
        self.left = {name: Leftover(name, LeftoverKind.DISK) for name in names}
        self.stuck: set[str] = set()
        self.silent = False

    def leftovers(self, _cluster):
        if self.silent:
            raise CloudTransient("not now")
        return tuple(self.left.values())

    def clean(self, leftover):
        if leftover.id in self.stuck:
            raise CloudTransient("in use")
        del self.left[leftover.id]


class Bench:
    """A reaper with a clock; ``reaped`` are the looks that it made."""

    def __init__(self, attic: Attic | None = None) -> None:
        self.now = 1000.0
        self.looks: list[tuple[frozenset[str], frozenset[str]]] = []
        self.error: Exception | None = None
        self.heartbeat = Heartbeat({"sky": 1.0, "slow": 100.0}, lambda: self.now)
        self.reaper = Reaper(self.reap, attic or Attic(), "c", self.heartbeat, lambda: self.now)

    def reap(self, machines, before):
        if self.error:
            raise self.error
        found = frozenset(machine.id for machine in machines)
        self.looks.append((found, frozenset(before)))
        return found

    def sweep(self, *machines):
        self.reaper.sweep(Listing({"sky": machines}))


def test_each_sweep_is_told_what_the_last_one_found():
    """So that only what was seen twice ends; between two sweeps is some time."""
    bench = Bench()
    bench.sweep(STRAY)
    bench.sweep(STRAY)
    bench.now += EVERY_S
    bench.sweep(STRAY)

    assert bench.looks == [(frozenset({"m-1"}), frozenset()), (frozenset({"m-1"}), frozenset({"m-1"}))]


@pytest.mark.parametrize("error", [DatabaseUnavailable(), RuntimeError("a bug")])
def test_i15_a_reaper_that_fails_is_soon_taken_for_dead(error):
    """Whatever the failure is; the next sweep that ends well revives it."""
    bench = Bench()
    bench.sweep(STRAY)
    bench.error = error
    for _ in range(ROUNDS * 3):
        bench.now += EVERY_S
        bench.sweep(STRAY)
    assert not bench.heartbeat.alive("sky")
    bench.error = None
    bench.sweep(STRAY)

    assert bench.heartbeat.alive("sky")
    assert bench.looks[-1] == (frozenset({"m-1"}), frozenset({"m-1"}))


def test_i15_a_cloud_that_is_not_listed_is_not_swept():
    """It has a minute, or three of its own rounds; one that nobody knows is not for us to judge."""
    bench = Bench()
    bench.now += PATIENCE_S
    assert bench.heartbeat.alive("sky")
    bench.now += 1
    assert not bench.heartbeat.alive("sky")
    assert bench.heartbeat.alive("slow")
    assert bench.heartbeat.alive("another")


def test_leftovers_that_were_seen_twice_are_removed():
    """One that cannot be removed keeps no other; it is tried again."""
    attic = Attic("disk-1", "disk-2")
    attic.stuck = {"disk-1"}
    bench = Bench(attic)
    bench.reaper.clean()
    attic.left["new"] = Leftover("new", LeftoverKind.ADDRESS)
    assert not bench.reaper.leftovers_due()
    bench.now += LEFTOVERS_EVERY_S
    assert bench.reaper.leftovers_due()
    bench.reaper.clean()
    assert set(attic.left) == {"disk-1", "new"}

    attic.stuck = set()
    bench.reaper.clean()
    assert attic.left == {}


def test_i11_what_a_cloud_did_not_tell_is_not_forgotten():
    """A look that failed is none: what was seen before it is removed after it."""
    attic = Attic("disk-1")
    bench = Bench(attic)
    bench.reaper.clean()
    attic.silent = True
    bench.reaper.clean()
    assert set(attic.left) == {"disk-1"}
    attic.silent = False
    bench.reaper.clean()
    assert attic.left == {}
