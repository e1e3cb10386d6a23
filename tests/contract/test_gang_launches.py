"""Jobs of several nodes on stored nodes and a cloud of two zones: whole, or not at all, whatever happens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gang_site import EAST, WEST, GangSite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import BootstrapFailed
from gateway.provisioning.lifecycle import USABLE, NodeState
from gateway.provisioning.supply import Supply


@pytest.fixture
def site(sqlite_url):
    """Four nodes, two zones with room for four machines each."""
    one = GangSite(sqlite_url(), gang_wait_s=300, capacity_wait_s=900)
    yield one
    one.close()


def test_a_job_of_two_nodes_is_one_order(site):
    """With job, owner and lease in its tags' sources, and numbers in the gang's order."""
    site.ask(7, "small-1", "small-2")
    site.settle(6)

    assert site.sky.orders == [("small-1", "small-2")]
    nodes = [site.node(name) for name in ("small-1", "small-2")]
    assert {node.state for node in nodes} == {NodeState.IDLE}
    assert [node.gang_number for node in nodes] == [0, 1]
    assert {(node.job, node.owner, node.account, node.supply) for node in nodes} == {(7, "person-7", "account-1", EAST)}
    assert len({node.gang for node in nodes}) == 1


def test_the_order_says_whose_the_machine_is_and_until_when(site):
    """In the tags of the create call, and the same when it is repeated."""
    orders = []
    create = site.sky.create
    site.sky.create = lambda order: orders.append(order) or create(order)
    site.sky.fault = "lost reply"
    site.ask(8, "small-1")
    for _ in range(3):
        site.look()
        site.pass_time(3)

    assert len(orders) == 2
    assert orders[0] == orders[1]
    assert (orders[0].job, orders[0].owner, orders[0].zone) == ("8", "person-8", "east")
    assert orders[0].lease_until == site.node("small-1").ordered_at + timedelta(minutes=15)


def test_i06_a_gang_that_the_first_zone_has_not_enough_room_for_is_whole_in_the_second(site):
    """One would fit; none is left there."""
    site.sky.room = {"east": 1, "west": 2}
    site.ask(7, "small-1", "small-2")
    site.settle(6)

    assert {site.node(name).supply for name in ("small-1", "small-2")} == {WEST}
    assert {machine.zone for machine in site.sky.live.values()} == {"west"}
    assert not site.slurm.failed_nodes


def test_i06_a_machine_that_does_not_run_in_time_takes_the_gang_to_the_next_zone(site):
    """The cloud made both and starts one: after gang_wait both end, and Slurm hears nothing."""
    site.sky.slow = {"small-2"}
    site.ask(7, "small-1", "small-2")
    for _ in range(3):
        site.look()
    assert len(site.sky.live) == 2
    site.pass_time(301)
    site.look()
    site.sky.slow = set()
    site.settle(8)

    nodes = [site.node(name) for name in ("small-1", "small-2")]
    assert {(node.supply, node.state, node.generation) for node in nodes} == {(WEST, NodeState.IDLE, 2)}
    assert len(site.sky.live) == 2
    assert not site.slurm.failed_nodes


def test_without_room_anywhere_the_nodes_wait_and_say_why_until_it_is_too_long(site):
    """Then Slurm is told, which requeues the job; nothing was ever left running."""
    site.sky.room = {"east": 1, "west": 1}
    site.ask(7, "small-1", "small-2")
    site.settle(20)
    blocked = site.node("small-1")
    assert (blocked.state, blocked.supply, site.sky.live) == (NodeState.CAPACITY_BLOCKED, None, {})
    assert blocked.reason == f"{EAST}: zone east is full; {WEST}: zone west is full"

    site.settle(75)
    assert set(site.states().values()) == {NodeState.OFF}
    assert set(site.slurm.failed_nodes) == {"small-1", "small-2"}
    assert site.slurm.failed_nodes["small-1"].startswith("no room within 900 s: ")


@pytest.mark.parametrize("fault", ["lost reply", "killed", "transient", "throttled"])
def test_i12_an_order_with_an_unknown_outcome_or_a_throttled_one_is_repeated_where_it_was_given(site, fault):
    """However it went: one machine for each node, all in the zone that was asked; no other is tried meanwhile."""
    site.sky.fault = fault
    site.ask(7, "small-1", "small-2")
    site.settle(8)

    assert sorted((one.node, one.generation) for one in site.sky.live.values()) == [("small-1", 1), ("small-2", 1)]
    assert set(site.sky.orders) == {("small-1", "small-2")}
    assert {site.node(name).state for name in ("small-1", "small-2")} == {NodeState.IDLE}
    assert {site.node(name).supply for name in ("small-1", "small-2")} == {EAST}


def test_nothing_is_ordered_before_slurm_has_asked_for_all(site):
    """slurmctld meters its requests: the job's nodes come in two of them."""
    names = ("small-1", "small-2", "small-3")
    site.ask(7, *names, resumed=names[:2])
    site.settle(3)
    assert site.sky.orders == []
    site.ask(7, *names, resumed=names[2:])
    site.settle(6)

    assert site.sky.orders == [names]


def test_a_node_whose_last_machine_still_ends_is_waited_for(site):
    """Then all are ordered together."""
    site.ask(6, "small-2")
    site.settle(4)
    site.provisioner.release(["small-2"], "idle")
    site.ask(7, "small-1", "small-2")
    site.settle(8)

    assert site.sky.orders == [("small-2",), ("small-1", "small-2")]


def test_i03_never_more_than_the_cluster_or_an_account_may_have(sqlite_url):
    """Counted where the intent is written, a gang whole; the reason says whose limit it is."""
    site = GangSite(sqlite_url(), max_nodes=3, max_nodes_per_account=2)
    site.ask(1, "small-1", "small-2")
    site.settle(6)
    site.ask(3, "small-3")
    site.settle(4)
    assert "all 2 that may be used of account account-1 are in use" in site.node("small-3").reason
    site.ask(2, "small-4")
    site.settle(4)
    assert site.node("small-4").state in USABLE

    site.provisioner.release(["small-1", "small-4"], "idle")
    site.settle(6)
    assert site.node("small-3").state in USABLE
    site.ask(2, "small-1", "small-4")
    site.settle(4)
    assert (
        "all 3 that may be used of the cluster are in use: 1 left, and the job needs 2" in site.node("small-1").reason
    )
    site.close()


def test_i03_a_machine_that_does_not_end_still_counts(sqlite_url):
    """It may cost money for as long as the cloud lists it."""
    site = GangSite(sqlite_url(), max_nodes=1)
    site.ask(1, "small-1")
    site.settle(5)
    site.sky.destroy = lambda _machine: None
    site.provisioner.release(["small-1"], "idle")
    site.settle(60)
    assert site.node("small-1").state is NodeState.STUCK_TERMINATING
    site.ask(2, "small-2")
    site.settle(3)
    assert "all 1 that may be used of the cluster are in use" in site.node("small-2").reason
    site.close()


def test_i15_nothing_is_ordered_where_nobody_ends_what_is_forgotten(sqlite_url):
    """The reaper's last sweep of the cloud is too old; once it is back, the node comes."""
    site = GangSite(sqlite_url())
    dead = [True]
    object.__setattr__(site.provisioner, "reaped", lambda _cloud: not dead[0])
    site.ask(7, "small-1")
    site.settle(3)
    assert site.sky.orders == []
    assert "its forgotten machines were not looked for in time" in site.node("small-1").reason
    dead[0] = False
    site.settle(4)
    assert site.node("small-1").state in USABLE
    site.close()


def test_three_boots_that_fail_in_a_row_close_a_supply_for_a_while(site):
    """Machines come and none becomes a node: the next ones are ordered elsewhere."""
    for _ in range(2):
        site.provisioner.breakers.trip(Supply(EAST), BootstrapFailed("no word"), site.clock[0])
    assert site.provisioner.breakers.refusal(Supply(EAST), site.clock[0]) is None
    site.ask(7, "small-1")
    site.look()
    site.look()
    for machine in tuple(site.sky.live.values()):
        site.sky.slow = {machine.node}
    with site.fleet() as fleet:
        fleet.move(fleet.get("small-1"), NodeState.BOOTING, site.clock[0], "runs")
    site.pass_time(1201)
    site.look()
    assert isinstance(site.provisioner.breakers.refusal(Supply(EAST), site.clock[0]), BootstrapFailed)
    site.sky.slow = set()
    site.settle(4)
    site.ask(7, "small-1")
    site.settle(6)
    assert site.node("small-1").supply == WEST


EVENT = st.sampled_from(["look", "settle", "full", "roomy", "lost_reply", "killed", "release", "late", "slow", "quick"])
EVENTS = st.lists(st.tuples(EVENT, st.integers(0, 3)), max_size=15)


def test_i06_no_part_of_a_gang_outlives_the_wait(sqlite_url):
    """Any order of faults: in peace, every machine is a node in service, and every other node is OFF."""

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(EVENTS)
    def run(events):
        site = GangSite(sqlite_url(), gang_wait_s=100, capacity_wait_s=500)
        names = ("small-1", "small-2", "small-3")
        site.ask(7, *names)
        for event, number in events:
            _happens(site, event, names[number % 3])
        site.sky.room, site.sky.slow, site.sky.fault = {"east": 4, "west": 4}, set(), None
        site.settle(25, seconds=31)
        alive = {machine.node for machine in site.sky.live.values()}
        usable = {node.name for node in site.nodes() if node.state in USABLE}
        assert alive == usable
        assert all(state in USABLE | {NodeState.OFF} for state in site.states().values())
        site.close()

    run()


def _happens(site, event, name):
    if event == "look":
        site.pass_time(3)
        site.look()
    elif event == "settle":
        site.settle(2)
    elif event in {"full", "roomy"}:
        site.sky.room = {"east": 1, "west": 2 if event == "full" else 3}
    elif event in {"lost_reply", "killed"}:
        site.sky.fault = event.replace("_", " ")
    elif event == "release":
        site.provisioner.release([name], "Slurm suspends it")
    elif event == "late":
        site.pass_time(120)
        site.look()
    else:
        site.sky.slow = {name} if event == "slow" else set()
