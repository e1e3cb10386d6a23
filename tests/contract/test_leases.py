"""What nodes say of themselves, on every database: leases, inventories that fall short, preemptions, leaving.

Slurm is a few lines here, for what it is told; tests/acceptance/test_node_life.py has the real one.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from test_joining import PATH, START, TOKEN, Newcomer, Site

from gateway import wire
from gateway.engines.engine import SchedulerNode
from gateway.errors import SchedulerUnavailable
from gateway.identity.authenticate import Request
from gateway.identity.join import node_kid
from gateway.identity.keys import public_jwk
from gateway.identity.signature import sign_request
from gateway.provisioning.inventory import Promise
from gateway.provisioning.lifecycle import NodeState
from gateway.service.leases import Inspection, LeaseService
from gateway.service.nodes import NodeFacts
from gateway.storage.group_tables import audit_records

PROMISE = Promise(cores=2, memory_mb=1000, gpus=2)
CARD = {"index": 0, "kind": "NVIDIA A100", "uuid": "GPU-0", "memory_mb": 40960}
GOOD = {"cores": 2, "memory_mb": 950, "gpus": [CARD, {**CARD, "index": 1, "uuid": "GPU-1"}], "driver": "nvidia 550"}
LESS = {**GOOD, "gpus": [CARD]}
FULL = {**GOOD, "health": ["the disk of / is full: 3 MiB left"]}
LACK = "it has 1 of 2 GPUs: GPU 1 lacks"


class Slurm:
    """small-1 as Slurm has it, and whether Slurm answers."""

    def __init__(self) -> None:
        self.node = SchedulerNode("small-1", frozenset({"IDLE", "CLOUD"}), "", "", 2, 1000, None)
        self.away = False

    def nodes(self) -> tuple[SchedulerNode, ...]:
        if self.away:
            raise SchedulerUnavailable("Slurm does not answer.")
        return (self.node,)

    def update_nodes(self, names, state: str, reason: str = "") -> None:
        self.nodes()
        assert list(names) == ["small-1"]
        self.node = replace(self.node, states=self.node.states | {state}, reason=reason)

    def job(self, _: int) -> tuple[()]:
        return ()


@pytest.fixture
def site(database):
    site = Site(database)
    site.slurm = Slurm()
    inspection = Inspection(site.slurm, lambda _: PROMISE)
    site.joining = replace(site.joining, inspection=inspection)
    facts = replace(site.joining.facts, lease_s=60, grace_s=30)
    site.leases = LeaseService(
        site.works, site.slurm, facts, inspection, lambda: site.woken.append(True), lambda: site.now
    )
    return site


def join(site, found: dict) -> wire.JoinReply:
    """small-1's machine joins with this inventory."""
    newcomer = Newcomer(site)
    said = {"node": "small-1", "token": TOKEN, "public_key": public_jwk(newcomer.key), "inventory": found}
    body = json.dumps(said).encode()
    facts = {"kid": node_kid("small-1", 1), "method": "POST", "path": PATH, "body": body, "audience": "burst"}
    signed = Request("POST", PATH, body, f"Burst {sign_request(newcomer.key, now=site.now, **facts)}")
    return site.joining.join(wire.JoinRequest.model_validate_json(body), signed, newcomer.address)


def renew(site, found: dict | None = None) -> wire.LeaseReply:
    return site.leases.renew(site.node(), wire.LeaseRequest(inventory=found))


def move(site, state: NodeState) -> None:
    with site.works() as work:
        work.fleet.move(work.fleet.get("small-1"), state, site.now, f"to {state}")


def told(site) -> list[tuple[str, str]]:
    with site.works() as work:
        return [(event.kind, event.text) for event in work.fleet.timeline("small-1")]


def alarms(site) -> list[str]:
    columns = audit_records.c
    with site.database.begin() as connection:
        query = select(columns.text).where(columns.action == "quarantine-node", columns.outcome == "alarm")
        return list(connection.execute(query).scalars())


def test_a_node_that_has_what_was_promised_is_one(site):
    """Its inventory is in its timeline."""
    reply = join(site, GOOD)
    assert (reply.quarantined, site.node().state) == ("", NodeState.BOOTSTRAPPED)
    assert ("inventory", "2 cores, 950 MiB, 2 GPUs (NVIDIA A100; nvidia 550)") in told(site)
    assert alarms(site) == []


def test_i21_a_node_that_falls_short_is_quarantined_before_it_is_slurms(site):
    """In the transaction of its join: it never was anything that Slurm may use, which has it down with the reason."""
    reply = join(site, LESS)
    assert (reply.quarantined, site.node().state, site.node().reason) == (LACK, NodeState.QUARANTINED, LACK)
    assert {"DRAIN", "DOWN"} <= site.slurm.node.states
    assert site.slurm.node.reason == f"gateway: quarantined: {LACK}"
    assert alarms(site) == [LACK]


def test_slurm_that_was_away_is_told_at_the_nodes_next_word(site):
    """The join itself does not wait for it."""
    site.slurm.away = True
    join(site, LESS)
    site.slurm.away = False
    assert site.slurm.node.reason == ""
    renew(site, LESS)
    assert site.slurm.node.reason == f"gateway: quarantined: {LACK}"
    assert alarms(site) == [LACK]


@pytest.mark.parametrize("found", [LESS, FULL])
def test_a_node_that_loses_something_while_idle_is_quarantined(site, found):
    """A card that dies, a disk that fills up."""
    join(site, GOOD)
    move(site, NodeState.IDLE)
    renew(site, found)
    assert site.node().state is NodeState.QUARANTINED


def test_a_node_that_loses_a_card_under_a_job_takes_no_further_one(site):
    """The job may end; then the node is quarantined."""
    join(site, GOOD)
    move(site, NodeState.BUSY)
    renew(site, LESS)
    assert site.node().state is NodeState.BUSY
    assert (site.slurm.node.states & {"DRAIN", "DOWN"}, site.slurm.node.reason) == ({"DRAIN"}, f"gateway: {LACK}")
    move(site, NodeState.IDLE)
    renew(site, LESS)
    assert site.node().state is NodeState.QUARANTINED


def test_a_disk_that_a_job_has_filled_is_that_jobs_matter(site):
    """Its end empties it."""
    join(site, GOOD)
    move(site, NodeState.BUSY)
    renew(site, FULL)
    assert (site.node().state, site.slurm.node.reason) == (NodeState.BUSY, "")


def test_a_drain_of_others_stays_theirs(site):
    """I23: its reason is not overwritten, whatever the node lacks."""
    join(site, GOOD)
    move(site, NodeState.BUSY)
    site.slurm.update_nodes(["small-1"], "DRAIN", "bad fan")
    renew(site, LESS)
    assert site.slurm.node.reason == "bad fan"


def test_a_lease_is_renewed_until_the_node_is_ended(site):
    """The node is told how long it is, and how long a job may outlive it."""
    join(site, GOOD)
    site.now += timedelta(seconds=20)
    assert renew(site) == wire.LeaseReply(lease_seconds=60, grace_seconds=30, drain=False)
    assert site.node().lease_until == START + timedelta(seconds=80)
    move(site, NodeState.TERMINATING)
    site.now += timedelta(seconds=20)
    assert renew(site).drain
    assert site.node().lease_until == START + timedelta(seconds=80)


def test_a_notice_moves_a_node_once(site):
    """Said again, it is noted; advice never moves anything."""
    join(site, GOOD)
    move(site, NodeState.IDLE)
    at = datetime(2026, 1, 2, 3, 6, 5, tzinfo=UTC)
    site.leases.preempted(site.node(), wire.PreemptedRequest(words="EC2 recommends to rebalance", advice=True))
    assert site.node().state is NodeState.IDLE
    for _ in range(2):
        site.leases.preempted(site.node(), wire.PreemptedRequest(at=at, words="EC2 will terminate it"))
    node = site.node()
    assert (node.state, node.reason) == (
        NodeState.PREEMPTING,
        "preempted: EC2 will terminate it at 2026-01-02T03:06:05Z",
    )
    assert [kind for kind, _ in told(site)][-3:] == ["advice", "preempting", "preempted"]


def test_a_node_that_leaves_is_ended_and_its_jobs_run_elsewhere(site):
    """Slurm first, then its machine at its cloud; said again by a node that is ended already, it changes nothing."""
    join(site, GOOD)
    move(site, NodeState.BUSY)
    request = wire.LeaveRequest(reason="slurmd has ended")
    site.leases.leave(site.node(), request)
    assert (site.node().state, site.node().reason) == (NodeState.TERMINATING, "it ends itself: slurmd has ended")
    assert {"DRAIN", "DOWN"} <= site.slurm.node.states
    before = told(site)
    site.leases.leave(site.node(), request)
    assert told(site) == before


def test_facts_of_a_lease_are_the_settings(site):
    """By default fifteen minutes, and an hour for a job."""
    facts = NodeFacts("burst", "", b"", False, "/jobs", "nobody", site.joining.facts.voucher)
    assert (facts.lease_s, facts.grace_s) == (900, 3600)
