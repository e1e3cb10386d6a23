"""A size that may come from several clouds: the next one is asked only after a refusal, never on a guess."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from test_provision import Cloud, Killed, Site

from gateway.errors import Capacity, CloudTransient
from gateway.provisioning.breakers import RULES, Breakers
from gateway.provisioning.cloud_router import CloudRouter
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.listing import Lister, Listing
from gateway.provisioning.node import MachineState
from gateway.provisioning.supply import Supplies, Supply

TWO = Supplies({"small": (Supply("far/big"), Supply("local/small"))})


class TwoClouds(Site):
    """Nodes of one size that may come from the cloud "far", and else from the local one."""

    def __init__(self, url: str, supplies: Supplies = TWO) -> None:
        super().__init__(url)
        self.far = Cloud("far")
        router = CloudRouter(self.cloud, {"far": self.far})
        fresh = Supplies(supplies.known)
        self.provisioner = replace(self.provisioner, provider=router, supplies=fresh, breakers=Breakers())
        self.router = router

    def tick(self, *, unread: str = "", **_: object) -> None:
        """One step of each node; the cloud ``unread`` does not answer."""
        clouds = [cloud for cloud in self.router.clouds if cloud != unread]
        listing = Listing({cloud: self.router.machines_at(cloud, "c") for cloud in clouds})
        for node in self.nodes():
            self.provisioner.step(node, listing.of(node), frozenset({"IDLE", "CLOUD", "POWERED_DOWN"}))

    def order(self, name: str, fault: str | None = None) -> None:
        """Slurm asks for a node; the far cloud's first answer is ``fault``."""
        self.far.fault = fault
        self.provisioner.want([name])
        self.tick()
        self.tick()

    def events(self, name: str) -> list[tuple[str, str]]:
        with self.fleet() as fleet:
            return [(event.kind, event.text) for event in fleet.timeline(name)]


@pytest.fixture
def site(sqlite_url):
    """Two clouds, nothing running."""
    one = TwoClouds(sqlite_url())
    yield one
    one.database.close()


def test_the_first_offer_is_taken_where_there_is_room(site):
    """The machine is the far cloud's, and its id says so."""
    site.order("small-1")

    assert (len(site.far.live), len(site.cloud.live)) == (1, 0)
    assert site.node("small-1").machine_id == "far/m-0"
    assert site.node("small-1").supply == "far/big"


@pytest.mark.parametrize("fault", ["capacity", "auth"])
def test_the_next_offer_is_taken_after_a_refusal(site, fault):
    """At once, and the node's events tell of it."""
    site.order("small-1", fault)

    assert (len(site.far.live), len(site.cloud.live)) == (0, 1)
    assert site.events("small-1") == [
        ("intent", "Slurm asked for it"),
        ("requested", "asking for far/big"),
        ("capacity-blocked", f"far/big: {fault}"),
        ("requested", "asking for local/small"),
        ("pending", "machine m-0 is being made"),
    ]


@pytest.mark.parametrize("fault", ["lost reply", "killed", "throttled", "transient"])
def test_no_other_cloud_is_asked_while_the_outcome_is_unknown(site, fault):
    """What may have been ordered is looked for where it was ordered: never two machines for one node."""
    with suppress(Killed):
        site.order("small-1", fault)
    for _ in range(3):
        site.now += timedelta(seconds=3)
        site.tick()

    assert (len(site.far.live), len(site.cloud.live)) == (1, 0)
    assert site.node("small-1").machine_id == "far/m-0"


def test_an_offer_that_was_full_is_not_asked_for_a_while(site):
    """The next node does not try it, and one that comes later does."""
    site.order("small-1", "capacity")
    site.order("small-2")
    site.now += RULES[Capacity].first
    site.order("small-3")

    assert [site.node(f"small-{number}").supply for number in (1, 2, 3)] == ["local/small", "local/small", "far/big"]


def test_a_node_waits_when_all_offers_are_out_and_says_what_each_said(site):
    """It is blocked, and asks again after a while: this computer soon, the other cloud when its breaker closes."""
    site.cloud.fault = "capacity"
    site.order("small-1", "capacity")
    node = site.node("small-1")
    assert (node.state, node.reason) == (NodeState.CAPACITY_BLOCKED, "far/big: capacity; local/small: capacity")
    assert not site.slurm.failed_nodes

    site.tick()
    assert site.node("small-1").state is NodeState.CAPACITY_BLOCKED
    site.now += timedelta(seconds=11)
    site.tick()

    assert site.node("small-1").state is NodeState.PENDING


def test_a_node_waits_without_asking_while_all_offers_are_shut(sqlite_url):
    """Its cloud is left alone until the breaker closes, its timeline says why once, and then the order goes out."""
    site = TwoClouds(sqlite_url(), Supplies({"small": (Supply("far/big"),)}))
    site.order("small-1", "capacity")
    site.order("small-2")
    for _ in range(6):
        site.now += timedelta(seconds=11)
        site.tick()

    assert site.far.live == {}
    assert site.node("small-2").state is NodeState.CAPACITY_BLOCKED
    assert site.node("small-2").reason == "far/big: capacity"
    assert [kind for kind, _ in site.events("small-2")] == ["intent", "capacity-blocked"]
    assert not site.slurm.failed_nodes

    site.now += RULES[Capacity].first
    site.tick()
    assert {site.node(name).state for name in ("small-1", "small-2")} == {NodeState.PENDING}
    site.database.close()


def test_i15_nothing_is_ordered_where_nobody_can_look(site):
    """A cloud that does not tell what it has gets no more orders: the next one does, or the node waits and says why."""
    unseen = {"far"}
    site.provisioner = replace(site.provisioner, blind=lambda cloud: cloud in unseen)
    site.order("small-1")
    unseen.add("local")
    site.order("small-2")

    assert site.node("small-1").supply == "local/small"
    assert site.node("small-2").state is NodeState.CAPACITY_BLOCKED
    assert "far/big: it does not tell which machines it has" in site.node("small-2").reason
    assert (len(site.far.live), len(site.cloud.live)) == (0, 1)
    assert not site.slurm.failed_nodes

    unseen.clear()
    site.now += timedelta(seconds=11)
    site.tick()
    assert site.node("small-2").supply == "far/big"


def test_a_node_that_every_cloud_refuses_for_good_fails(site):
    """None said that it has no room: to wait would not help, and Slurm is told."""
    site.cloud.fault = "auth"
    site.order("small-1", "auth")

    assert site.slurm.failed_nodes == ["small-1"]
    assert site.node("small-1").reason == "far/big: auth; local/small: auth"


def test_no_more_of_an_offer_is_used_than_may_be(sqlite_url):
    """The second node goes elsewhere though the cloud would have had room; the first, asked again, stays."""
    site = TwoClouds(sqlite_url(), Supplies({"small": (Supply("far/big", 1), Supply("local/small"))}))
    site.order("small-1")
    site.order("small-2")

    assert [site.node(name).supply for name in ("small-1", "small-2")] == ["far/big", "local/small"]
    assert ("capacity-blocked", "far/big: all 1 that may be used are in use") in site.events("small-2")
    site.database.close()


def test_a_cloud_that_has_no_room_after_all_is_left_without_a_word_to_slurm(site):
    """It took the order; what is left of it goes, and the next generation comes from elsewhere."""
    site.order("small-1")
    (machine,) = site.far.live.values()
    site.far.live[machine.id] = replace(machine, state=MachineState.ERROR, no_room="No valid host was found.")
    for _ in range(5):
        site.tick()

    node = site.node("small-1")
    assert (node.generation, node.supply, node.state) == (2, "local/small", NodeState.PENDING)
    assert (len(site.far.live), len(site.cloud.live)) == (0, 1)
    assert not site.slurm.failed_nodes


def test_a_silent_cloud_hides_its_own_machines_only(site):
    """Nothing is concluded about its node; the other cloud's node goes on."""
    site.order("small-1")
    site.order("small-2", "capacity")
    site.cloud.live.clear()
    site.now += timedelta(seconds=60)
    site.tick(unread="far")

    assert site.node("small-1").state is NodeState.PENDING
    assert site.slurm.failed_nodes == ["small-2"]


def test_a_second_machine_of_a_node_is_an_orphan(site):
    """The one that the node knows stays."""
    site.order("small-1")
    (machine,) = site.router.machines("c")
    double = replace(machine, id="far/m-9")
    site.far.live["m-9"] = replace(double, id="m-9")

    before = site.provisioner.reap([machine, double], ())
    site.provisioner.reap([machine, double], before)

    assert list(site.far.live) == ["m-0"]


def test_a_lister_tells_of_clouds_apart():
    """One that fails is not in the listing, the other is; none is asked again before its time."""
    asked = []

    def ask(cloud):
        asked.append(cloud)
        if cloud == "far":
            raise CloudTransient("away")
        return ()

    lister = Lister(ask, {"local": 0.0, "far": 3600.0})
    try:
        listings = [lister.read(), lister.read()]
    finally:
        lister.close()

    assert [set(listing.clouds) for listing in listings] == [{"local"}, {"local"}]
    assert asked.count("far") == 1


def test_a_lister_says_when_it_has_been_blind_for_too_long():
    """After a minute without an answer, or three looks of a cloud that is seldom asked; the next answer ends it."""
    clock = [1000.0]
    away = set()

    def ask(cloud):
        if cloud in away:
            raise CloudTransient("away")
        return ()

    lister = Lister(ask, {"local": 0.0, "far": 0.0, "slow": 3600.0}, lambda: clock[0])
    try:
        assert all(map(lister.unread, ("local", "far", "slow")))
        lister.read()
        assert not any(map(lister.unread, ("local", "far", "slow")))
        away.add("far")
        for second in (59, 61):
            clock[0] = 1000.0 + second
            lister.read()
        assert [lister.blind(cloud) for cloud in ("local", "far", "slow", "unknown")] == [False, True, False, False]
        away.clear()
        lister.read()
        assert not lister.blind("far")
        clock[0] += 3 * 3600 + 1
        assert lister.blind("slow")
    finally:
        lister.close()


def test_i15_a_cloud_that_was_never_read_is_blind_from_its_first_error():
    """Nobody knows what an earlier gateway ordered there; until it says anything it is waited for."""

    def ask(cloud):
        raise CloudTransient("away")

    lister = Lister(ask, {"far": 0.0})
    try:
        assert (lister.unread("far"), lister.blind("far")) == (True, False)
        lister.read()
        assert (lister.unread("far"), lister.blind("far")) == (False, True)
    finally:
        lister.close()
