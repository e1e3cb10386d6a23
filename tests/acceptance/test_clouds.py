"""Jobs on another cloud: the gateway orders from EC2's API with libcloud's own driver, and what it orders boots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ec2_server import REGION, Ec2Server
from gateway_site import Site, eventually, shared_cache, site_in

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.local_cloud import LocalCloud
from gateway.provisioning.node import TAG_NODE, TAG_TOKEN
from gateway.settings import Settings, SizeSettings

pytestmark = pytest.mark.root

TYPES = {"t3.small": "one", "c5.large": "two", "m5.large": "three", "c7i.large": "four"}
"""Instance type → size of the machines that the server boots for it."""

MACHINES = tuple(
    SizeSettings(name=name, cores=cores, memory_mb=1024, credits_per_hour=1, max_nodes=4)
    for cores, name in enumerate(("one", "two", "three", "four"), start=1)
)

SIZES = (
    SizeSettings(name="small", cores=1, memory_mb=512, credits_per_hour=1, max_nodes=2, offers=("aws/t3.small",)),
    SizeSettings(
        name="pair", cores=2, memory_mb=512, credits_per_hour=2, max_nodes=1, offers=("aws/c5.large", "local/pair")
    ),
    # Not of more cores than this computer may have: a node is held against what its size promised.
    SizeSettings(name="big", cores=2, memory_mb=768, credits_per_hour=3, max_nodes=1, offers=("aws/m5.large",)),
    SizeSettings(name="trio", cores=2, memory_mb=1024, credits_per_hour=4, max_nodes=3, offers=("aws/c7i.large",)),
)


@dataclass(frozen=True)
class Bursting:
    """A gateway, and the cloud that it has beside the local one."""

    site: Site
    ec2: Ec2Server

    def node(self, name: str) -> ElasticNode:
        """A node as the gateway has it now."""
        with self.site.work() as work:
            return work.fleet.get(name)

    def events(self, name: str) -> list[tuple[str, str]]:
        """What happened to a node's present generation."""
        with self.site.work() as work:
            return [(event.kind, event.text) for event in work.fleet.timeline(name)]

    def states(self) -> set[str]:
        """Of all instances."""
        return set(self.ec2.instances().values())


@pytest.fixture(scope="module")
def bursting(containers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bursting]:
    """A gateway whose sizes come from EC2, one of them from the local cloud if need be."""
    folder = tmp_path_factory.mktemp("ec2")
    folder.chmod(0o711)
    cloud = LocalCloud.open(Settings(directory=folder, cache=shared_cache(), nodes="container", sizes=MACHINES))
    with ExitStack() as stack:
        stack.callback(cloud.teardown)
        ec2 = stack.enter_context(Ec2Server(cloud, TYPES))
        site = stack.enter_context(site_in(start=False, nodes="container", idle_s=5))
        _share_network(cloud.settings.cloud_dir, site.directory / "cloud")
        _configure(site, ec2)
        yield Bursting(site.up(), ec2)


def _share_network(theirs: Path, ours: Path) -> None:
    """One network for both clouds' containers: it stands for the way from a cloud's network to the gateway's."""
    ours.mkdir(parents=True)
    ours.parent.chmod(0o711)
    if (note := theirs / "network.json").exists():
        (ours / note.name).write_text(note.read_text())


def _configure(site: Site, ec2: Ec2Server) -> None:
    cloud = {
        "name": "aws",
        "kind": "ec2",
        "region": REGION,
        "endpoint": ec2.url,
        "image": ec2.image,
        "poll_s": 0.5,
        "sizes": [
            {"name": name, "cores": cores, "memory_mb": 1024, "credits_per_hour": 0.5, "max_nodes": 4}
            for cores, name in enumerate(TYPES, start=1)
        ],
    }
    sizes = [size.model_dump(mode="json", exclude_defaults=True) for size in SIZES]
    toml = f"clouds = {_inline([cloud])}\nsizes = {_inline(sizes)}\n"
    (site.directory / "burst.toml").write_text(toml)
    secret = site.directory / "secrets/aws.json"
    secret.parent.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    secret.write_text(json.dumps({"key": ec2.key, "secret": ec2.secret}))


def _inline(value: Any) -> str:
    """In TOML, on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_inline(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value)


def test_a_job_runs_on_an_instance_that_is_terminated_afterwards(bursting: Bursting, tmp_path: Path) -> None:
    """RunInstances booted its node, with token, tags and user-data; when it is idle, TerminateInstances ends it."""
    site, ec2 = bursting.site, bursting.ec2
    job = site.submit("hostname > where.txt; sleep 5", "-c", "1")
    site.reach(job, "RUNNING")

    (instance,) = [name for name, state in ec2.instances().items() if state == "running"]
    (order,) = [call for call in ec2.calls if call["Action"] == "RunInstances"]
    tags = {order[key]: order[key.replace(".Key", ".Value")] for key in order if key.endswith(".Key")}
    assert bursting.node("small-1").machine_id == f"aws/{instance}"
    assert site.list_nodes() == []
    assert (tags["Name"], tags[TAG_NODE], tags[TAG_TOKEN]) == ("small-1", "small-1", order["ClientToken"])
    assert order["InstanceInitiatedShutdownBehavior"] == "terminate"

    ended = site.finish(job)
    assert ended.state == "COMPLETED", ended.reason
    fetched = site.burst("fetch", str(job.id), "--to", str(tmp_path))
    assert fetched.code == 0, fetched.err
    assert (tmp_path / "where.txt").read_text() == "small-1\n"
    eventually(lambda: ec2.instances()[instance] == "terminated", "the instance terminated")
    eventually(lambda: bursting.node("small-1").state is NodeState.OFF, "the node off")
    assert ec2.cloud.driver().list_nodes() == []


def test_a_size_that_one_cloud_has_no_room_for_comes_from_the_next(bursting: Bursting) -> None:
    """The first offer's refusal is in the node's events, and the job runs on the second."""
    site, ec2 = bursting.site, bursting.ec2
    ec2.full.add("c5.large")
    job = site.submit("sleep 5", "-c", "2")
    site.reach(job, "RUNNING")

    events = bursting.events("pair-1")
    assert [local.name for local in site.list_nodes()] == ["pair-1"]
    assert bursting.node("pair-1").machine_id == site.list_nodes()[0].id
    kinds = [kind for kind, _ in events]
    assert kinds[:5] == ["intent", "requested", "capacity-blocked", "requested", "pending"]
    assert events[1][1] == "asking for aws/c5.large"
    assert events[2][1].startswith("aws/c5.large: InsufficientInstanceCapacity")
    assert events[3][1] == "asking for local/pair"
    assert site.finish(job).state == "COMPLETED"


def test_a_job_says_why_it_waits_when_no_cloud_has_room(bursting: Bursting) -> None:
    """It waits with the cloud's own words, and runs once there is room."""
    site, ec2 = bursting.site, bursting.ec2
    ec2.full.add("m5.large")
    job = site.submit("true", "--mem=700")
    with site.login() as gateway:
        why = eventually(
            lambda: "capacity-blocked" in (reason := gateway.job(job.burst_id).reason) and reason, "the job's reason"
        )
    assert "big-1 capacity-blocked (aws/m5.large: InsufficientInstanceCapacity" in why

    ec2.full.clear()
    assert site.finish(job).state == "COMPLETED"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_job_of_three_nodes_is_one_call_whose_machines_join_by_number(bursting: Bursting, tmp_path: Path) -> None:
    """All have the same user-data; each is told by the gateway which node it is, and slurmd registers as that node."""
    site, ec2 = bursting.site, bursting.ec2
    before = ec2.count("RunInstances")
    text = "srun bash -c 'echo $SLURM_NODEID $SLURMD_NODENAME $(hostname)' | sort > where.txt; sleep 5"

    job = site.submit(text, "-N", "3", "--mem=900")
    site.reach(job, "RUNNING")

    nodes = [bursting.node(f"trio-{number}") for number in (1, 2, 3)]
    (call,) = [each for each in ec2.calls if each["Action"] == "RunInstances"][before:]
    assert (call["MinCount"], call["MaxCount"]) == ("3", "3")
    assert {node.gang for node in nodes} == {nodes[0].gang}
    assert sorted(node.gang_number for node in nodes) == [0, 1, 2]
    assert len({node.public_key["x"] for node in nodes}) == len({node.machine_id for node in nodes}) == 3
    ended = site.finish(job)
    assert ended.state == "COMPLETED", ended.reason
    fetched = site.burst("fetch", str(job.id), "--to", str(tmp_path))
    assert fetched.code == 0, fetched.err
    lines = [line.split() for line in (tmp_path / "where.txt").read_text().splitlines()]
    assert [line[:2] for line in lines] == [["0", "trio-1"], ["1", "trio-2"], ["2", "trio-3"]]
    assert len({line[2] for line in lines}) == 3
    eventually(lambda: all(bursting.node(node.name).state is NodeState.OFF for node in nodes), "the nodes off")
    assert ec2.cloud.driver().list_nodes() == []


def test_down_ends_the_instances(bursting: Bursting) -> None:
    """`burst down` in the middle of a job leaves none that costs money."""
    site, ec2 = bursting.site, bursting.ec2
    site.reach(site.submit("sleep 600", "-c", "1"), "RUNNING")
    assert "running" in bursting.states()

    assert site.down().code == 0

    assert bursting.states() == {"terminated"}
    assert ec2.cloud.driver().list_nodes() == []
