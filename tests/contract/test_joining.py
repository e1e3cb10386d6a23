"""Joining: a token is good once, soon, for one machine and the key that it made; all else is refused and alarmed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select
from structlog.testing import capture_logs

from gateway import wire
from gateway.errors import BadSignature, BurstError, TooManyTries
from gateway.identity.authenticate import Request, Verifier
from gateway.identity.join import node_kid, token_hash
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.signature import sign_request
from gateway.identity.specification import Voucher
from gateway.provisioning.lifecycle import NodeState
from gateway.service.joining import JoinService
from gateway.service.nodes import NodeFacts
from gateway.storage.database import Database
from gateway.storage.group_tables import audit_records
from gateway.storage.work import SqlWork

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOKEN = "the-token-of-small-1-that-nobody-may-see"
PATH = "/api/v1/nodes/join"
NODE_ADDRESS = "10.0.0.7"
MUNGE_KEY = b"slurm's own key"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICh/aBiBezCkXdE2o1/UQJ1t4oaa1qTp9qkNsm4Q2poI"


@dataclass
class Site:
    """One gateway's database, clock and join service; small-1 and small-2 are booting, in generation 1."""

    database: Database
    now: datetime = START
    woken: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        facts = NodeFacts("burst", "10.0.0.1:6817", MUNGE_KEY, False, "/jobs", "nobody", Voucher(b"v" * 32))
        verifier = Verifier("burst", 60)
        self.joining = JoinService(self.works, verifier, facts, lambda: self.woken.append(True), lambda: self.now)
        for name, token in (("small-1", TOKEN), ("small-2", "another token")):
            with self.works() as work:
                work.fleet.add(name, "small", self.now)
            self.order(name, token)

    @contextmanager
    def works(self):
        with self.database.begin() as connection:
            yield SqlWork(connection)

    def order(self, name: str, token: str, address: str | None = NODE_ADDRESS) -> None:
        """A machine for the node's next generation, up to where it boots."""
        with self.works() as work:
            node = work.fleet.get(name)
            node = work.fleet.move(node, NodeState.INTENT, self.now, "wanted", generation=node.generation + 1)
            until = self.now + timedelta(minutes=4)
            facts = {"join_token_hash": token_hash(token), "join_until": until, "public_key": None}
            node = work.fleet.move(node, NodeState.REQUESTED, self.now, "asking", **facts)
            node = work.fleet.move(node, NodeState.PENDING, self.now, "made", machine_id="m-1", address=address)
            work.fleet.move(node, NodeState.BOOTING, self.now, "runs")

    def end(self, name: str) -> None:
        """Its machine is gone."""
        with self.works() as work:
            node = work.fleet.move(work.fleet.get(name), NodeState.TERMINATING, self.now, "enough")
            work.fleet.move(node, NodeState.OFF, self.now, "gone", join_token_hash=None, public_key=None)

    def node(self, name: str = "small-1"):
        with self.works() as work:
            return work.fleet.get(name)

    def told(self, name: str = "small-1") -> list[str]:
        """The alarms in a node's timeline."""
        with self.works() as work:
            return [event.text for event in work.fleet.timeline(name) if event.kind == "alarm"]

    def audited(self) -> list[tuple[str, str, str, str, str]]:
        """Outcome, actor, subject, address and text of each audit record of a join."""
        columns = audit_records.c
        with self.database.begin() as connection:
            query = select(columns.outcome, columns.actor, columns.subject, columns.address, columns.text)
            joins = query.where(columns.action == "join")
            return [tuple(row) for row in connection.execute(joins.order_by(columns.seq))]


@dataclass
class Newcomer:
    """A machine with a key of its own and some token."""

    site: Site
    token: str = TOKEN
    node: str = "small-1"
    generation: int = 1
    address: str = NODE_ADDRESS
    key: object = field(default_factory=make_key)

    def request(self, **signed) -> tuple[wire.JoinRequest, Request]:
        """Its join request; ``signed`` replaces what a good signature would have."""
        said = {"node": self.node, "token": self.token, "public_key": public_jwk(self.key)}
        body = json.dumps({**said, "ssh_host_keys": [HOST_KEY], "inventory": {"cores": 2, "memory_mb": 1024}}).encode()
        facts = {"key": self.key, "kid": node_kid(self.node, self.generation), "method": "POST", "path": PATH}
        facts |= {"body": body, "audience": "burst", "now": self.site.now, **signed}
        request = Request("POST", PATH, body, f"Burst {sign_request(**facts)}")
        return wire.JoinRequest.model_validate_json(body), request

    def join(self, **signed) -> wire.JoinReply:
        return self.site.joining.join(*self.request(**signed), self.address)


@pytest.fixture
def site(database) -> Site:
    return Site(database)


def alarms(kind: str) -> float:
    return REGISTRY.get_sample_value("burst_join_alarms_total", {"kind": kind}) or 0.0


def refused(site: Site, kind: str, act: Callable[[], object], node: str = "small-1", address=NODE_ADDRESS) -> None:
    """``act`` is refused in words that say nothing, and alarmed everywhere; no secret is in what is told."""
    before, counted, records = site.told() if node == "small-1" else [], alarms(kind), len(site.audited())
    state = site.node()

    with capture_logs() as logs, pytest.raises(BurstError) as error:
        act()

    assert isinstance(error.value, BadSignature)
    assert error.value.detail == "This invitation is not valid."
    (record,) = site.audited()[records:]
    assert record[:4] == ("alarm", f"node:{node}", f"node:{node}", address)
    assert f"({kind})" in record[4]
    if node == "small-1":
        (event,) = site.told()[len(before) :]
        assert f"({kind})" in event
        assert address in event
    assert alarms(kind) == counted + 1
    (line,) = [line for line in logs if line["event"] == "alarm"]
    assert (line["log_level"], line["kind"], line["node"], line["address"]) == ("warning", kind, node, address)
    assert TOKEN not in json.dumps([record, site.told(), line], default=str)
    assert site.node() == state


def test_a_machine_joins_with_the_key_that_it_made(site):
    """Its token gives it Slurm's key; the database has its public key, its SSH host keys and the audit log the deed."""
    newcomer = Newcomer(site)

    reply = newcomer.join()

    node = site.node()
    assert (reply.node, reply.generation, reply.audience) == ("small-1", 1, "burst")
    assert reply.munge_key == "c2x1cm0ncyBvd24ga2V5"
    assert (node.state, node.public_key) == (NodeState.BOOTSTRAPPED, public_jwk(newcomer.key))
    assert node.ssh_host_keys == (HOST_KEY,)
    assert [record[0] for record in site.audited()] == ["done"]
    assert site.woken == [True]
    assert site.told() == []


def test_the_database_has_no_private_half(site):
    """Nor the token: whoever copies the database can neither sign as the node nor join as one."""
    newcomer = Newcomer(site)
    newcomer.join()

    with site.database.begin() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM nodes").fetchall()
    assert public_jwk(newcomer.key)["x"] in str(rows)
    assert newcomer.key.as_dict(private=True)["d"] not in str(rows)
    assert TOKEN not in str(rows)


def test_a_lost_reply_is_asked_for_again_with_the_same_key(site):
    """The same answer, and nothing happens twice."""
    newcomer = Newcomer(site)

    first, second = newcomer.join(), newcomer.join()

    assert first == second
    assert [record[0] for record in site.audited()] == ["done"]


def test_a_stolen_token_is_refused(site):
    """Whoever read it in the user-data comes second, with a key of their own."""
    Newcomer(site).join()

    refused(site, "stolen", Newcomer(site, address="192.0.2.66").join, address="192.0.2.66")


def test_a_stolen_token_is_refused_also_when_the_node_is_in_service(site):
    """Long after it joined."""
    Newcomer(site).join()
    with site.works() as work:
        work.fleet.move(work.fleet.get("small-1"), NodeState.IDLE, site.now, "registered")

    refused(site, "stolen", Newcomer(site).join)


def test_who_is_first_with_a_stolen_token_is_found_out(site):
    """The thief has the node's place, and the machine itself raises the alarm when it comes."""
    Newcomer(site, address="192.0.2.66").join()

    refused(site, "stolen", Newcomer(site).join)
    assert site.told()[0].startswith("a join was not as it should be (elsewhere): joined from 192.0.2.66")


def test_a_replayed_join_is_refused(site):
    """The very bytes of a good request, from somewhere else, get nobody Slurm's key."""
    captured = Newcomer(site).request()
    site.joining.join(*captured, NODE_ADDRESS)

    refused(site, "replayed", lambda: site.joining.join(*captured, "192.0.2.66"), address="192.0.2.66")


def test_a_late_token_is_refused(site):
    """After minutes it is worth nothing, though its node is still waited for."""
    site.now += timedelta(minutes=4, seconds=1)

    refused(site, "late", Newcomer(site).join)


@pytest.mark.parametrize("state", [NodeState.TERMINATING, NodeState.FAILED_BOOT])
def test_the_token_of_a_machine_that_is_ended_is_late(site, state):
    """It need not have joined before."""
    with site.works() as work:
        work.fleet.move(work.fleet.get("small-1"), state, site.now, "enough")

    refused(site, "late", Newcomer(site).join)


def test_the_token_of_a_machine_that_is_gone_is_late(site):
    """Nobody is expected then."""
    site.end("small-1")

    refused(site, "late", Newcomer(site).join)


def test_the_token_of_an_earlier_machine_is_foreign(site):
    """The node has another machine, with another token, by now."""
    site.end("small-1")
    site.order("small-1", "the next token")

    refused(site, "foreign", Newcomer(site).join)
    assert Newcomer(site, token="the next token", generation=2).join().generation == 2


@pytest.mark.parametrize("token", ["another token", "", TOKEN[:-1], token_hash(TOKEN)])
def test_a_foreign_token_is_refused(site, token):
    """Another node's, none, part of one, or what the database has of it."""
    refused(site, "foreign", Newcomer(site, token=token).join)


def test_a_node_that_does_not_exist_is_refused_alike(site):
    """There is no timeline for it, and no other answer."""
    refused(site, "foreign", Newcomer(site, node="small-9").join, node="small-9")


@pytest.mark.parametrize(
    "signed",
    [
        {"key": make_key()},
        {"kid": node_kid("small-2", 1)},
        {"kid": node_kid("small-1", 2)},
        {"audience": "burst-of-others"},
        {"path": "/api/v1/nodes/self/lease"},
        {"body": b"{}"},
        {"now": START - timedelta(minutes=10)},
    ],
)
def test_a_key_that_is_not_proven_is_refused(site, signed):
    """Who has the token and somebody else's public key has nothing: the token is not used up, and the machine joins."""
    refused(site, "unproven", lambda: Newcomer(site).join(**signed))

    assert Newcomer(site).join().node == "small-1"


def test_another_address_than_the_clouds_is_an_alarm_and_no_refusal(site):
    """Addresses are translated on some ways; somebody should look all the same."""
    counted = alarms("elsewhere")

    reply = Newcomer(site, address="192.0.2.9").join()

    assert reply.munge_key
    assert [record[0] for record in site.audited()] == ["done", "alarm"]
    assert site.told() == [
        "a join was not as it should be (elsewhere): joined from 192.0.2.9; its cloud gave it 10.0.0.7; from 192.0.2.9"
    ]
    assert alarms("elsewhere") == counted + 1
    assert site.node().address == NODE_ADDRESS


@pytest.mark.parametrize("listed", [None, "metal.example.org", NODE_ADDRESS])
def test_where_the_cloud_gave_no_address_there_is_nothing_to_compare(site, listed):
    """Nor where a host is listed by its name."""
    site.end("small-1")
    site.order("small-1", TOKEN, address=listed)

    Newcomer(site, generation=2).join()

    assert site.told() == []
    assert site.node().address == (listed or NODE_ADDRESS)


def test_a_public_address_of_the_machine_is_its_own_too(site):
    """A gateway outside the cloud sees that one."""
    with site.works() as work:
        work.fleet.note(work.fleet.get("small-1"), public_addresses=("192.0.2.9",))

    Newcomer(site, address="192.0.2.9").join()

    assert site.told() == []


def test_refused_joins_are_limited_by_address(site):
    """Thirty a minute; then nothing is judged, counted or told, and other addresses go on."""
    thief = Newcomer(site, token="guess", address="192.0.2.66")
    for _ in range(30):
        with pytest.raises(BadSignature):
            thief.join()
    records = len(site.audited())

    with pytest.raises(TooManyTries) as late:
        thief.join()

    assert late.value.retry_after_s <= 60
    with pytest.raises(TooManyTries):
        Newcomer(site, address="192.0.2.66").join()
    assert len(site.audited()) == records
    assert Newcomer(site).join().node == "small-1"


def test_of_two_at_once_one_joins(site):
    """However close they come: the other one is an alarm."""
    both, answers = threading.Barrier(2), []

    def come() -> None:
        newcomer = Newcomer(site)
        both.wait()
        try:
            answers.append(newcomer.join())
        except BadSignature as error:
            answers.append(error)

    threads = [threading.Thread(target=come) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(type(answer).__name__ for answer in answers) == ["BadSignature", "JoinReply"]
    assert sorted(record[0] for record in site.audited()) == ["alarm", "done"]
