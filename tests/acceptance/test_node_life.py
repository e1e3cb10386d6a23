"""What nodes do by themselves, with a real Slurm: they hold what they have against what was promised, tell that their
cloud takes them back, and end when their gateway is silent for too long.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from faults import GATE, at_gate, finish, kill, open_gate
from gateway_site import Site, eventually, site_in
from metadata_server import MetadataServer, metadata_server

from gateway.bootstrap.lifecycle import toml_text
from gateway.wire import JobView

pytestmark = pytest.mark.slow

LEASE_S = 5
SHOW = 'echo "$SLURM_JOB_NODELIST $CUDA_VISIBLE_DEVICES ${SLURM_RESTART_COUNT:-0}" >> ran\n'
NVIDIA_SMI = """#!/bin/sh
# What nvidia-smi prints for the query that it is asked; the first node's second card has fallen off the bus.
case "$1" in --query-gpu=index,name,uuid,pci.bus_id,memory.total,driver_version,*) ;; *) exit 2 ;; esac
echo "0, NVIDIA A100-SXM4-40GB, GPU-0aa1, 00000000:07:00.0, 40960, 550.54.14, 0"
if [ "$BURST_NODE" = gpu-1 ]; then
    echo "Unable to determine the device handle for GPU1: 0000:0F:00.0: Unknown Error"
    exit 15
fi
echo "1, NVIDIA A100-SXM4-40GB, GPU-0bb2, 00000000:0F:00.0, 40960, 550.54.14, 0"
"""


@dataclass(frozen=True)
class Bursting:
    """A gateway, and the metadata service that its nodes ask."""

    site: Site
    cloud: MetadataServer

    def told(self, node: str) -> list[tuple[str, str]]:
        """What happened to a node's present generation."""
        with self.site.work() as work:
            return [(event.kind, event.text) for event in work.fleet.timeline(node)]

    def reason(self, node: str) -> str:
        """Slurm's, for having it out of service."""
        return self.site.slurm("sinfo", "-h", "-N", "-n", node, "-o", "%E").strip().removeprefix("none")

    def alive(self, node: str) -> bool:
        """Whether the machine runs."""
        return any(machine.name == node and machine.state == "running" for machine in self.site.list_nodes())

    def wrote(self, job: JobView) -> str:
        """What the job noted, fetched and verified."""
        folder = self.site.directory / "fetched" / job.burst_id
        with self.site.login() as client:
            client.fetch(job.burst_id, folder)
        return (folder / "ran").read_text()


@pytest.fixture(scope="module")
def bursting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bursting]:
    """Process nodes; each believes to be in EC2, those of size gpu to have what a file of this test says."""
    folder = tmp_path_factory.mktemp("tools")
    tool = folder / "nvidia-smi"
    tool.write_text(NVIDIA_SMI)
    tool.chmod(0o755)
    small = {"name": "small", "cores": 2, "memory_mb": 512, "credits_per_hour": 1.0, "max_nodes": 3}
    gpu = {**small, "name": "gpu", "gpus": 2, "gpu_files": _devices(folder), "credits_per_hour": 9.0, "max_nodes": 2}
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        cloud = stack.enter_context(metadata_server())
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        patch.setenv("NODE_AGENT_METADATA", f"aws={cloud.address}")
        how = {"lease_s": LEASE_S, "lease_grace_s": 600, "idle_s": 5, "sizes": toml_text([small, gpu])}
        yield Bursting(stack.enter_context(site_in(nodes="process", **how)), cloud)


def _devices(folder: Path) -> str:
    """Two device files, or what stands for them where only root may make some."""
    for number in range(2):
        try:
            os.mknod(folder / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(195, number))
        except PermissionError:
            (folder / f"nvidia{number}").touch()
    return f"{folder}/nvidia[0-1]"


def test_i21_a_node_with_a_gpu_less_never_gets_the_job(bursting: Bursting) -> None:
    """Slurm chose gpu-1 first; it is quarantined with the card's name, and the job runs on gpu-2, on both cards."""
    site = bursting.site
    job = site.submit(SHOW, "--gres=gpu:2")

    told = eventually(lambda: [text for kind, text in bursting.told("gpu-1") if kind == "quarantined"], "a quarantine")
    reason = eventually(lambda: bursting.reason("gpu-1"), "Slurm has heard of it")
    job = site.finish(job)

    assert "it has 1 of 2 GPUs: GPU 1 lacks" in told[0]
    assert "nvidia-smi: Unable to determine the device handle for GPU1" in told[0]
    assert reason.startswith("gateway: quarantined: it has 1 of 2 GPUs")
    assert (job.state, [attempt.nodes for attempt in job.attempts if attempt.nodes]) == ("COMPLETED", [("gpu-2",)])
    assert bursting.wrote(job).split()[:2] == ["gpu-2", "0,1"]
    inventory = dict(bursting.told("gpu-2"))["inventory"]
    assert "2 GPUs (NVIDIA A100-SXM4-40GB; nvidia 550.54.14)" in inventory
    assert site.rows("SELECT outcome, subject FROM audit_records WHERE action = 'quarantine-node'") == [
        ("alarm", "node:gpu-1")
    ]


def test_i14_a_preempted_job_is_requeued_within_a_minute(bursting: Bursting) -> None:
    """EC2 announces that it takes the machine: the job is in the queue again, and runs again on another node."""
    site, cloud = bursting.site, bursting.cloud
    job = site.submit(SHOW + GATE)
    node = at_gate(site, job)

    taken_at = datetime.now(UTC)
    cloud.action = {"action": "terminate", "time": f"{taken_at + timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}"}
    # All nodes here ask one service; each has a token of its own, and only those that there are now are taken.
    cloud.taken = set(cloud.tokens)
    eventually(lambda: "preempting" in dict(bursting.told(node)), f"{node} is preempted")
    with site.login() as client:
        eventually(lambda: [each.nodes for each in client.job(job.burst_id).attempts][-1] != (node,), "a requeue")
    assert datetime.now(UTC) - taken_at < timedelta(seconds=60)

    job = finish(site, job)

    (again,) = job.attempts[-1].nodes
    assert again != node
    assert job.state == "COMPLETED"
    assert bursting.wrote(job).split() == [again, "1"]
    assert dict(bursting.told(node))["preempting"].startswith("preempted: EC2 will terminate it at 20")


@pytest.mark.long
def test_a_node_outlives_a_short_silence_and_ends_itself_after_a_long_one(bursting: Bursting) -> None:
    """The gateway is killed. A node with a job drains and goes on; back in time, the gateway finds it as it was.

    A node without a job ends itself within three times its lease, and nobody is there to tell it.
    """
    site = bursting.site
    job = site.submit(SHOW + GATE, "--gres=gpu:2")
    busy = at_gate(site, job)
    idle = site.finish(site.submit(SHOW)).attempts[-1].nodes[0]
    assert bursting.alive(idle)

    kill(site, "gateway")
    killed_at = datetime.now(UTC)
    eventually(lambda: not bursting.alive(idle), f"{idle} ends itself")
    assert datetime.now(UTC) - killed_at > timedelta(seconds=LEASE_S)
    eventually(lambda: site.sinfo()[busy] == "draining", f"{busy} drains itself")
    assert bursting.reason(busy) == "gateway: its gateway is silent"
    assert bursting.alive(busy)

    site.up()
    eventually(lambda: site.sinfo()[busy] == "allocated", f"{busy} is in service again")
    open_gate(site, job, busy)
    job = site.finish(job)
    assert (job.state, len(job.attempts)) == ("COMPLETED", 1)
    assert bursting.wrote(job).split()[0] == busy
