"""Two gateways on one database: one has a node at a time, and what a late one brings back is seen to."""

from __future__ import annotations

import threading

import pytest
from gang_site import GangSite

from gateway.provisioning.launcher import LOCK
from gateway.provisioning.lifecycle import USABLE, NodeState


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request):
    """Two real provisioners, one database, one cloud, one clock."""
    url = request.getfixturevalue(f"{request.param}_url")()
    first = GangSite(url)
    second = GangSite(url, of=first)
    yield first, second
    first.close()
    second.close()


class Paused:
    """A create call that has made its machines, and hangs until it is let go."""

    def __init__(self, site):
        self._site = site
        self._there, self._go = threading.Event(), threading.Event()

    def __enter__(self):
        self._site.sky.before_reply = self._hang
        self._thread = threading.Thread(target=self._site.look)
        self._thread.start()
        assert self._there.wait(30)
        return self

    def let_go(self):
        self._go.set()
        self._thread.join(30)

    def __exit__(self, *_):
        self.let_go()

    def _hang(self):
        self._site.sky.before_reply = None
        self._there.set()
        assert self._go.wait(30)


@pytest.mark.parametrize("names", [("small-1",), ("small-1", "small-2")])
def test_another_gateway_leaves_a_node_alone_while_its_order_is_under_way(pair, names):
    """One call, one machine a node, though both look at the same records."""
    first, second = pair
    first.ask(7, *names)
    first.look()
    with Paused(first):
        for _ in range(3):
            second.look()
        assert len(first.sky.orders) == 1
    first.settle(6)

    assert len(first.sky.live) == len(names)
    assert all(first.node(name).state in USABLE for name in names)
    with first.fleet() as fleet:
        assert fleet.effects() == ()


def test_a_late_workers_machine_is_an_effect_that_the_reaper_ends(pair):
    """It was taken for dead, and its node given up and made anew: the machine that it brings back is nobody's."""
    first, second = pair
    first.ask(7, "small-1")
    first.look()
    with Paused(first) as call:
        made = set(first.sky.live)
        hidden = {name: first.sky.live.pop(name) for name in made}  # the cloud does not list it yet
        first.pass_time(LOCK.total_seconds() + 1)
        second.provisioner.release(["small-1"], "Slurm gave it up")
        second.settle(3)
        second.ask(8, "small-1")
        second.settle(6)
        assert second.node("small-1").generation == 2
        first.sky.live |= hidden
        call.let_go()
    with second.fleet() as fleet:
        assert {effect.machine_id for effect in fleet.effects()} == made
    second.provisioner.reap((), ())

    assert not made & set(first.sky.live)
    assert second.node("small-1").state in USABLE
    with second.fleet() as fleet:
        assert fleet.effects() == ()


def test_a_late_reply_about_the_nodes_own_machine_ends_nothing(pair):
    """The one that took over repeated the order, and the cloud gave it the same machine."""
    first, second = pair
    first.sky.slow = {"small-1"}
    first.ask(7, "small-1")
    first.look()
    with Paused(first):
        first.pass_time(LOCK.total_seconds() + 1)
        second.look()
        mine = second.node("small-1")
        assert (mine.state, len(first.sky.live)) == (NodeState.PENDING, 1)
    with second.fleet() as fleet:
        assert [effect.machine_id for effect in fleet.effects()] == [mine.machine_id]
    second.provisioner.reap(second.sky.machines("c"), ())

    assert set(first.sky.live) == {mine.machine_id}
    with second.fleet() as fleet:
        assert fleet.effects() == ()


def test_a_gateway_that_is_started_again_takes_up_what_it_had(pair):
    """Its own locks are no obstacle to it: it has the name of the one that died."""
    first, second = pair
    object.__setattr__(second.provisioner, "holder", first.provisioner.holder)
    first.ask(7, "small-1")
    first.look()
    first.sky.fault = "killed"
    first.look()
    assert first.node("small-1").state is NodeState.REQUESTED
    second.settle(5)

    assert second.node("small-1").state in USABLE
    assert len(first.sky.live) == 1
