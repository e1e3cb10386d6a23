"""What it takes to order many nodes of a cloud that answers each call after 100 ms: four roads, in one run.

Invariant: all roads ask the same server, made anew for each, for machines with the same tags and user-data; the
gateway's own road is all that it does between Slurm's request and the machine's id in its record.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import boto3
from botocore.config import Config
from libcloud.compute.base import NodeImage, NodeSize
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from bench.ec2_api import REGION, serving
from gateway.bootstrap.provisioning import GangJoin
from gateway.provisioning.cloud_router import CloudRouter
from gateway.provisioning.clouds import open_cloud
from gateway.provisioning.ec2_fleet import MOST_A_CALL
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.gang_user_data import GangUserData, render_gang
from gateway.provisioning.gangs import Together, gangs_of, judge
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.node import NodeProvider
from gateway.provisioning.provision import Join, Provisioner, order_of
from gateway.provisioning.supply import Supplies, Supply
from gateway.provisioning.wishes import JobNodes
from gateway.settings import CloudSettings, CloudSizeSettings, Settings
from gateway.storage.database import Database
from gateway.storage.nodes import SqlFleet

LATENCY_S = 0.1
COUNTS = (1000, 5000)
SERIAL = 100
"""Nodes that are really ordered one after the other; more would take minutes and be the same again."""
THREADS = 32
SIZE = "m7i.large"
CLUSTER = "bench/0123456789abcdef"
ROADS = ("serial", "threaded", "libcloud", "boto3", "gateway")


@dataclass(frozen=True)
class Launches:
    """Medians in seconds, by road and number of nodes."""

    rounds: int
    seconds: dict[tuple[str, int], float]

    def ratio(self, count: int) -> float:
        """The gateway's road in terms of the quicker bare one."""
        return self.seconds["gateway", count] / min(self.seconds["libcloud", count], self.seconds["boto3", count])

    def growth(self, road: str) -> float:
        """How much longer the last count takes than the first, in terms of the nodes that it has more; 1: linear."""
        first, last = COUNTS[0], COUNTS[-1]
        return self.seconds[road, last] / self.seconds[road, first] / (last / first)


def measure(rounds: int = 3) -> Launches:
    """Each road by turns, ``rounds`` times; the slow ones once."""
    found: dict[tuple[str, int], list[float]] = {}
    for count in COUNTS:
        for number in range(rounds):
            for name, road in _ROADS.items():
                if number == 0 or name not in {"serial", "threaded"}:
                    with serving(LATENCY_S) as url:
                        found.setdefault((name, count), []).append(road(url, count))
    return Launches(rounds, {leg: median(times) for leg, times in found.items()})


def _serial(url: str, count: int) -> float:
    order = _libcloud(url)
    order("warm")
    begun = time.perf_counter()
    for number in range(SERIAL):
        order(f"n-{number}")
    return (time.perf_counter() - begun) / SERIAL * count


def _threaded(url: str, count: int) -> float:
    with ThreadPoolExecutor(THREADS) as pool:
        orders = [_libcloud(url) for _ in range(THREADS)]
        begun = time.perf_counter()
        # A driver is for one thread: each takes every 32nd node.
        parts = [partial(_several, order, range(first, count, THREADS)) for first, order in enumerate(orders)]
        list(pool.map(lambda part: part(), parts))
        return time.perf_counter() - begun


def _several(order: Callable[[str], object], numbers: range) -> None:
    for number in numbers:
        order(f"n-{number}")


def _bare_libcloud(url: str, count: int) -> float:
    order = _libcloud(url)
    order("warm")
    begun = time.perf_counter()
    for first in range(0, count, MOST_A_CALL):
        machines = min(MOST_A_CALL, count - first)
        made = order("gang", ex_mincount=machines, ex_maxcount=machines, ex_clienttoken=f"{first:032}")
        assert len(made) == machines  # noqa: S101 - or it is not what is measured
    return time.perf_counter() - begun


def _bare_boto3(url: str, count: int) -> float:
    client = boto3.client(
        "ec2",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",  # noqa: S106 - of a server that checks none
        config=Config(retries={"total_max_attempts": 1}),
    )
    order = _gang(count)
    tags = [{"Key": key, "Value": text} for key, text in order.tags.items()]
    asked: dict[str, Any] = {
        "ImageId": "ami-1",
        "InstanceType": SIZE,
        "UserData": order.user_data,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
    }
    client.run_instances(MinCount=1, MaxCount=1, **asked)
    begun = time.perf_counter()
    for first in range(0, count, MOST_A_CALL):
        machines = min(MOST_A_CALL, count - first)
        made = client.run_instances(MinCount=machines, MaxCount=machines, ClientToken=f"{first:032}", **asked)
        assert len(made["Instances"]) == machines  # noqa: S101 - or it is not what is measured
    return time.perf_counter() - begun


def _gateway(url: str, count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="burst-bench-") as folder, _site(Path(folder), url, count) as site:
        site.warm()
        begun = time.perf_counter()
        site.launch()
        spent = time.perf_counter() - begun
        site.check()
        return spent


_ROADS: dict[str, Callable[[str, int], float]] = {
    "serial": _serial,
    "threaded": _threaded,
    "libcloud": _bare_libcloud,
    "boto3": _bare_boto3,
    "gateway": _gateway,
}


def _libcloud(url: str) -> Callable[..., Any]:
    """One create call of libcloud's own driver, with what the gateway's has."""
    host, _, port = url.removeprefix("http://").partition(":")
    kind: Any = get_driver(Provider.EC2)
    driver = kind("key", "secret", region=REGION, host=host, port=int(port), secure=False, signature_version="4")
    size = NodeSize(SIZE, SIZE, ram=0, disk=0, bandwidth=0, price=0.0, driver=driver)
    image = NodeImage("ami-1", "ami-1", driver=driver)
    order = _gang(1)
    how = {"ex_userdata": order.user_data, "ex_metadata": dict(order.tags)}
    return partial(driver.create_node, size=size, image=image, **how)


def _gang(count: int) -> GangOrder:
    nodes = (ElasticNode(name, 1, NodeState.REQUESTED, "large", datetime.now(UTC), job=7) for name in _names(count))
    return _order(tuple(nodes))


def _order(nodes: Sequence[ElasticNode]) -> GangOrder:
    return GangOrder(tuple(order_of(CLUSTER, node, "") for node in nodes), _user_data("0" * 32))


def _user_data(gang: str) -> str:
    urls = ("http://10.0.0.1:8080", "http://10.0.0.1:8080/node-agent.py", "a" * 64)
    return render_gang(GangUserData(gang, "s" * 43, *urls, audience=CLUSTER, user_authority="ssh-ed25519 AAAA"))


def _names(count: int) -> list[str]:
    return [f"large-{number}" for number in range(1, count + 1)]


@dataclass
class _Site:
    """What of a gateway orders nodes: provisioner, database and cloud, without Slurm and the API."""

    database: Database
    provider: NodeProvider
    count: int
    told: list[str] = field(default_factory=list)

    def warm(self) -> None:
        """One node by itself: imports, the first connection, the first statement of each kind."""
        with self.fleet() as fleet:
            for name in ("warm-1", "warm-2"):
                fleet.add(name, "warm", datetime.now(UTC))
            for name in _names(self.count):
                fleet.add(name, "large", datetime.now(UTC))
        self._through(("warm-1", "warm-2"), 1)

    def launch(self) -> None:
        """Slurm asks for all nodes of one job."""
        self._through(tuple(_names(self.count)), 7)

    def check(self) -> None:
        """Each has a machine of its own, a token and its intent in the audit log."""
        with self.fleet() as fleet:
            nodes = [node for node in fleet.all({NodeState.PENDING}) if node.offer == "large"]
        assert len({node.machine_id for node in nodes}) == self.count, len(nodes)  # noqa: S101
        assert len({node.join_token_hash for node in nodes}) == self.count  # noqa: S101

    @contextmanager
    def fleet(self) -> Iterator[Fleet]:
        with self.database.begin() as connection:
            yield SqlFleet(connection)

    @cached_property
    def provisioner(self) -> Provisioner:
        supplies = Supplies({name: (Supply(f"far/{SIZE}"),) for name in ("large", "warm")})
        now = partial(datetime.now, UTC)
        return Provisioner(CLUSTER, self.fleet, self.provider, _invite, self, now, supplies, invite_gang=_invite_gang)

    def _through(self, names: tuple[str, ...], job: int) -> None:
        """What the gateway's runner does, in one thread: take the request, and act on what is due."""
        provisioner = self.provisioner
        provisioner.want(names, (JobNodes(job, names, names),), begin=True)
        with self.fleet() as fleet:
            known = fleet.all()
        (gang,) = gangs_of(node for node in known if node.state is NodeState.INTENT)
        verdict = judge(gang, {}, provisioner.now(), provisioner.limits)
        assert verdict.act is Together.LAUNCH, verdict  # noqa: S101
        assert provisioner.step_together(verdict, {})  # noqa: S101

    def failed(self, node: str, reason: str) -> None:
        """It may not."""
        raise AssertionError((node, reason))

    gone = requeue = failed


def _invite(_node: ElasticNode) -> Join:
    raise AssertionError("they are ordered together")


def _invite_gang(nodes: Sequence[ElasticNode]) -> GangJoin:
    assert nodes[0].gang is not None  # noqa: S101 - the launcher's
    return GangJoin("s" * 43, len(nodes), _user_data(nodes[0].gang))


@contextmanager
def _site(folder: Path, url: str, count: int) -> Iterator[_Site]:
    secret = folder / "secrets" / "far.json"
    secret.parent.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    secret.write_text(json.dumps({"key": "key", "secret": "secret"}))
    size = CloudSizeSettings(name=SIZE, cores=2, memory_mb=8192, credits_per_hour=1, max_nodes=500)
    far = CloudSettings(name="far", kind="ec2", region=REGION, endpoint=url, image="ami-1", sizes=(size,))
    cloud = open_cloud(far, Settings(directory=folder))
    database = Database(f"sqlite:///{folder}/gateway.db")
    database.migrate()
    try:
        yield _Site(database, CloudRouter(cloud, {"far": cloud}), count)
    finally:
        database.close()


if __name__ == "__main__":
    found = measure(1)
    for leg, seconds in found.seconds.items():
        print(leg, f"{seconds:.2f}")
    print({count: round(found.ratio(count), 2) for count in COUNTS}, found.growth("gateway"))
