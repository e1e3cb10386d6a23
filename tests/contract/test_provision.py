"""Provisioning on stored nodes and a cloud that fails in every way: never two machines for one, never one forgotten."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import update

from gateway.errors import Ambiguous, BurstError, Capacity, CloudAuth, CloudTransient, SchedulerUnavailable, Throttled
from gateway.provisioning.lifecycle import BEFORE_JOIN, USABLE, NodeState
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Machine, MachineState, NodeOrder
from gateway.provisioning.provision import Join, Provisioner
from gateway.provisioning.sources import Source
from gateway.storage.database import Database
from gateway.storage.nodes import SqlFleet
from gateway.storage.tables import nodes

NODES = ("small-1", "small-2", "small-3")
DOWN = frozenset({"IDLE", "CLOUD", "POWERED_DOWN"})
UP = frozenset({"IDLE", "CLOUD"})
REAP_EVERY = timedelta(seconds=10)


class Killed(BaseException):
    """The gateway's process ended here."""


@dataclass
class Cloud:
    """Machines in memory; the next call fails as ``fault`` says."""

    name: str = "faulty"
    live: dict[str, Machine] = field(default_factory=dict)
    fault: str | None = None
    ids: itertools.count = field(default_factory=itertools.count)

    def create(self, order):
        fault, self.fault = self.fault, None
        before = {"capacity": Capacity, "throttled": Throttled, "transient": CloudTransient, "auth": CloudAuth}
        if fault in before:
            raise before[fault](fault)
        known = next((machine for machine in self.live.values() if machine.token == order.token), None)
        machine = known or Machine(
            f"m-{next(self.ids)}", order.node, order.generation, order.token, MachineState.PENDING, None
        )
        self.live[machine.id] = machine
        if fault == "lost reply":
            raise Ambiguous("no reply")
        if fault == "killed":
            raise Killed
        return machine

    def create_gang(self, gang):
        raise AssertionError(gang)

    def machines(self, _cluster):
        return tuple(self.live.values())

    def destroy(self, machine_id):
        fault, self.fault = self.fault, None
        if fault:
            raise CloudTransient(fault)
        self.live.pop(machine_id, None)

    def console(self, _machine_id):
        if self.fault:
            raise CloudTransient("no console")
        return "the end of the console"

    def leftovers(self, _cluster):
        return ()

    def clean(self, leftover):
        raise AssertionError(leftover)

    def sizes(self):
        return ()


@dataclass
class Told:
    """What Slurm was told of nodes."""

    away: bool = False
    failed_nodes: list[str] = field(default_factory=list)
    requeued: list[str] = field(default_factory=list)

    def failed(self, node, reason):
        if self.away:
            raise SchedulerUnavailable
        assert reason
        self.failed_nodes.append(node)

    def gone(self, _node):
        if self.away:
            raise SchedulerUnavailable

    def requeue(self, node, _job, reason):
        if self.away:
            raise SchedulerUnavailable
        assert reason
        self.requeued.append(node)


class Site:
    """A provisioner, its database and its clock, and Slurm's side of the nodes."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.cloud = Cloud()
        self.slurm = Told()
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.orphans: frozenset[str] = frozenset()
        self.reaped_at = self.now
        self.provisioner = Provisioner("c", self.fleet, self.cloud, self.invite, self.slurm, lambda: self.now)
        with self.fleet() as fleet:
            for name in NODES:
                fleet.add(name, "small", self.now)

    @contextmanager
    def fleet(self):
        with self.database.begin() as connection:
            yield SqlFleet(connection)

    @staticmethod
    def invite(node):
        return Join(f"{node.generation:064x}", "#cloud-config")

    def nodes(self):
        with self.fleet() as fleet:
            return fleet.all()

    def node(self, name):
        with self.fleet() as fleet:
            return fleet.get(name)

    def machine_of(self, name):
        node = self.node(name)
        found = [one for one in self.cloud.live.values() if (one.node, one.generation) == (name, node.generation)]
        return found[0] if found else None

    def tick(self, *, cloud_read=True, slurm_read=True):
        """Each open node one step, as the runner does; what fails is tried again."""
        listing = Listing({"local": self.cloud.machines("c")} if cloud_read else {})
        for node in self.nodes():
            states = self.states_of(node) if slurm_read else Source.UNREAD
            try:
                self.provisioner.step(node, listing.of(node), states)
            except (BurstError, Killed):
                continue
        if cloud_read and self.now - self.reaped_at >= REAP_EVERY:
            self.reaped_at = self.now
            try:
                self.orphans = self.provisioner.reap(listing.clouds["local"], self.orphans)
            except BurstError:
                return

    def states_of(self, node):
        machine = self.machine_of(node.name)
        joined = node.state in USABLE | {NodeState.BOOTSTRAPPED}
        return UP if joined and machine and machine.state is MachineState.RUNNING else DOWN

    def boot(self):
        """Machines that are being made run, and trade their token."""
        for machine in tuple(self.cloud.live.values()):
            if machine.state is MachineState.PENDING:
                self.cloud.live[machine.id] = replace(machine, state=MachineState.RUNNING)
        for node in self.nodes():
            machine = self.machine_of(node.name)
            if machine and machine.state is MachineState.RUNNING and node.state in BEFORE_JOIN:
                with self.fleet() as fleet:
                    fleet.move(node, NodeState.BOOTSTRAPPED, self.now, "joined")

    def settle(self, loops=40):
        """No more faults: let it run."""
        self.cloud.fault, self.slurm.away = None, False
        for _ in range(loops):
            self.now += timedelta(seconds=11)
            self.boot()
            self.tick()


@pytest.fixture
def site(sqlite_url):
    """Three nodes, nothing running."""
    one = Site(sqlite_url())
    yield one
    one.database.close()


def test_a_wanted_node_becomes_usable_and_a_released_one_ends(site):
    """The whole life of a node, with one machine."""
    site.provisioner.want(["small-1"])
    site.settle(5)
    assert (site.node("small-1").state, len(site.cloud.live)) == (NodeState.IDLE, 1)

    site.provisioner.release(["small-1"], "idle")
    site.settle(5)
    node = site.node("small-1")
    assert (node.state, node.machine_id, node.public_key, site.cloud.live) == (NodeState.OFF, None, None, {})


@pytest.mark.parametrize("fault", ["lost reply", "killed", "throttled", "transient", "capacity"])
def test_one_machine_comes_of_every_fault_that_passes(site, fault):
    """Whatever happens to the first create call, there is one machine of the first generation in the end."""
    site.cloud.fault = fault
    site.provisioner.want(["small-1"])
    site.settle(0)
    site.cloud.fault = fault
    site.tick()
    site.tick()
    site.settle()

    assert [(one.node, one.generation) for one in site.cloud.live.values()] == [("small-1", 1)]
    assert site.node("small-1").state is NodeState.IDLE
    assert not site.slurm.failed_nodes


@pytest.mark.parametrize("fault", ["lost reply", "killed"])
def test_a_machine_whose_birth_was_never_told_is_ended_too(site, fault):
    """Slurm gives the node up before anybody knows the machine's id: the listing has it."""
    site.provisioner.want(["small-1"])
    site.tick()
    site.cloud.fault = fault
    site.tick()
    site.provisioner.release(["small-1"], "too late")
    assert (len(site.cloud.live), site.node("small-1").machine_id) == (1, None)
    site.settle(4)

    assert (site.node("small-1").state, site.cloud.live) == (NodeState.OFF, {})


def test_each_try_has_a_token_of_its_own():
    """The same order has the same token; another cluster, node, generation or size has another."""
    order = NodeOrder("c", "small-1", 1, "small", "data")
    others = [replace(order, **other) for other in ({"cluster": "d"}, {"node": "n"}, {"generation": 2}, {"size": "l"})]

    assert replace(order, user_data="later").token == order.token
    assert len({order.token, *(other.token for other in others)}) == 5


def test_a_refusal_that_will_not_pass_is_told_to_slurm(site):
    """The cloud refuses the credential: the node fails, nothing is left, and it can be asked for again."""
    site.provisioner.want(["small-1"])
    site.tick()
    site.cloud.fault = "auth"
    site.tick()
    site.settle()

    assert (site.slurm.failed_nodes, site.cloud.live) == (["small-1"], {})
    site.provisioner.want(["small-1"])
    site.settle()
    assert site.node("small-1").state is NodeState.IDLE


def test_slurm_is_told_of_a_failure_even_if_it_was_away(site):
    """A failed node is not forgotten because Slurm could not be told at once."""
    site.provisioner.want(["small-1"])
    site.settle(5)
    site.cloud.live.clear()
    site.slurm.away = True
    site.now += timedelta(seconds=60)
    site.tick()
    site.settle()

    assert site.slurm.failed_nodes == ["small-1"]


def test_a_machine_that_does_not_end_keeps_nobody_waiting(site, monkeypatch):
    """Asked for again meanwhile, Slurm is told once; nothing is made for nobody when the machine goes at last."""
    site.provisioner.want(["small-1"])
    site.settle(5)
    monkeypatch.setattr(site.cloud, "destroy", lambda _: None)
    site.provisioner.release(["small-1"], "idle")
    site.settle(2)
    site.provisioner.want(["small-1"])
    site.settle(40)
    assert site.slurm.failed_nodes == ["small-1"]
    assert (site.node("small-1").wanted, len(site.cloud.live)) == (False, 1)

    site.cloud.live.clear()
    site.settle(5)
    assert (site.node("small-1").state, site.cloud.live) == (NodeState.OFF, {})


def test_unknown_names_are_returned_and_harm_nobody(site):
    """Slurm may know nodes that we do not."""
    assert site.provisioner.want(["small-1", "gpu-9"]) == ("gpu-9",)
    site.provisioner.release(["gpu-9", "small-1"], "idle")

    assert site.node("small-1").state is NodeState.OFF


def test_a_machine_of_nobody_is_ended_when_seen_twice(site):
    """An orphan has one look's grace: its record may be on its way."""
    order = Machine("m-x", "small-2", 9, "t" * 32, MachineState.RUNNING, None)
    site.cloud.live["m-x"] = order

    seen_once = site.provisioner.reap([order], ())
    assert site.cloud.live
    site.provisioner.reap([order], seen_once)

    assert (seen_once, site.cloud.live) == ({"m-x"}, {})


@pytest.mark.parametrize("state", list(NodeState))
@pytest.mark.parametrize("lives", [True, False])
def test_i13_from_any_state_a_node_is_settled_within_five_looks(site, state, lives):
    """A gateway finds such a record at its start; without further faults nothing is left half done."""
    with site.database.begin() as connection:
        facts = {"state": state, "generation": 1, "machine_id": "m-9", "supply": "local/small", "wanted_by": 7}
        connection.execute(update(nodes).where(nodes.c.name == "small-1").values(**facts))
    if lives:
        site.cloud.live["m-9"] = Machine("m-9", "small-1", 1, "t" * 32, MachineState.RUNNING, None)
    for _ in range(5):
        site.now += timedelta(seconds=31)
        site.boot()
        site.tick()

    node = site.node("small-1")
    live = [(one.node, one.generation) for one in site.cloud.live.values()]
    if state is NodeState.QUARANTINED and lives:  # kept for an hour, to be looked at
        assert (node.state, live) == (state, [("small-1", 1)])
    elif node.state in USABLE:
        assert live == [("small-1", node.generation)]
    else:
        assert (node.state, live) == (NodeState.OFF, [])


def test_i14_a_preempted_job_is_requeued_within_a_minute(site):
    """From the cloud's word to Slurm's queue; the node ends, and its machine."""
    site.provisioner.want(["small-1"])
    site.settle(5)
    (machine,) = site.cloud.live.values()
    site.cloud.live[machine.id] = replace(machine, preempted="in two minutes")
    noticed = site.now
    while not site.slurm.requeued:
        site.now += timedelta(seconds=15)
        site.tick()
    assert site.slurm.requeued == ["small-1"]
    assert site.now - noticed <= timedelta(seconds=60)
    site.settle(4)
    assert (site.node("small-1").state, site.cloud.live) == (NodeState.OFF, {})


class Storm(RuleBasedStateMachine):
    """Any order of requests, replays, faults, deaths and silences."""

    new_url: Callable[[], str]

    def __init__(self):
        super().__init__()
        self.site = Site(type(self).new_url())
        self.calls = []
        self.told = 0
        self.wanted = dict.fromkeys(NODES, False)

    def teardown(self):
        self.site.settle()
        self.hear()
        for node in self.site.nodes():
            up = node.state in USABLE
            assert up or node.state is NodeState.OFF, node
            assert up == self.wanted[node.name], node
        assert {(one.node, one.generation) for one in self.site.cloud.live.values()} == {
            (node.name, node.generation) for node in self.site.nodes() if node.state in USABLE
        }
        self.site.database.close()

    def hear(self):
        """A node that Slurm was told is lost is one that it does not wait for."""
        for name in self.site.slurm.failed_nodes[self.told :]:
            self.wanted[name] = False
        self.told = len(self.site.slurm.failed_nodes)

    @rule(names=st.lists(st.sampled_from(NODES), unique=True), resume=st.booleans(), times=st.integers(1, 3))
    def ask(self, names, resume, times):
        self.hear()
        for _ in range(times):
            self.site.provisioner.want(names) if resume else self.site.provisioner.release(names, "idle")
        self.wanted |= dict.fromkeys(names, resume)

    @rule(cloud_read=st.booleans(), slurm_read=st.booleans())
    def tick(self, cloud_read, slurm_read):
        self.site.tick(cloud_read=cloud_read, slurm_read=slurm_read)
        self.hear()

    @rule()
    def boot(self):
        self.site.boot()

    @rule(fault=st.sampled_from(["capacity", "throttled", "transient", "auth", "lost reply", "killed"]))
    def break_the_cloud(self, fault):
        self.site.cloud.fault = fault

    @rule(away=st.booleans())
    def slurm_goes_or_comes(self, away):
        self.site.slurm.away = away

    @rule(seconds=st.sampled_from([1, 11, 60, 400]))
    def time_passes(self, seconds):
        self.site.now += timedelta(seconds=seconds)

    @rule(name=st.sampled_from(NODES), stops=st.booleans())
    def a_machine_dies(self, name, stops):
        machine = self.site.machine_of(name)
        if machine and stops:
            self.site.cloud.live[machine.id] = replace(machine, state=MachineState.STOPPED)
        elif machine:
            del self.site.cloud.live[machine.id]

    @invariant()
    def a_generation_has_one_machine(self):
        live = [(one.node, one.generation) for one in self.site.cloud.live.values()]
        assert len(live) == len(set(live))

    @invariant()
    def every_machine_was_intended_first(self):
        generations = {node.name: node.generation for node in self.site.nodes()}
        assert all(one.generation <= generations[one.node] for one in self.site.cloud.live.values())

    @invariant()
    def a_node_that_is_off_has_no_keys(self):
        off = [node for node in self.site.nodes() if node.state is NodeState.OFF]
        assert not [node for node in off if node.public_key or node.machine_id or node.join_token_hash]


def test_provisioning_converges_whatever_happens(sqlite_url):
    """Once the storm is over, each node is what Slurm last asked for, with one machine or none."""
    Storm.new_url = staticmethod(sqlite_url)
    how = settings(max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))

    run_state_machine_as_test(Storm, settings=how)
