"""The notice of preemption in the form of each cloud, from its metadata service to the gateway."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from agent_site import JOIN_TOKEN, NODE, named, until
from metadata_server import metadata_server

from slurm_plugins.agent.metadata import ADDRESS, Azure, ComputeEngine, Ec2, Metadata, cloud_here
from slurm_plugins.agent.preemption import TEST_METADATA
from slurm_plugins.agent.web import Unavailable

PREEMPT = {
    "EventId": "f020ba2e-3bc0-4c40-a10b-86575a9eabd5",
    "EventType": "Preempt",
    "ResourceType": "VirtualMachine",
    "Resources": ["node-vm-3"],
    "EventStatus": "Scheduled",
    "NotBefore": "Mon, 19 Sep 2016 18:29:47 GMT",
    "Description": "",
    "EventSource": "Platform",
    "DurationInSeconds": -1,
}


@pytest.fixture
def cloud():
    with metadata_server() as service:
        yield service


@pytest.fixture
def watching(site, cloud):
    """Starts an agent that believes to be in a cloud."""
    slurmd = site.root / "slurmd"
    slurmd.write_text("#!/bin/sh\nexec sleep 1000\n")
    slurmd.chmod(0o755)
    identity = {
        **json.loads((site.state / "identity.json").read_text()),
        "slurmd": str(slurmd),
        "slurm_conf": "/dev/null",
    }
    (site.state / "identity.json").write_text(json.dumps(identity))
    join = site.root / "join.json"
    join.write_text(json.dumps({"gateway_url": site.url, "node": NODE, "token": JOIN_TOKEN}))
    started = []

    def start(name: str) -> subprocess.Popen:
        environment = {"PATH": os.environ["PATH"], TEST_METADATA: f"{name}={cloud.address}"}
        command = site.command("run", "--process", "--join", str(join))
        started.append(subprocess.Popen(command, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def test_ec2_announces_it_and_the_gateway_hears_of_it_once(site, cloud, watching):
    """Through a session token, as IMDSv2 wants; the instance goes on meanwhile."""
    process = watching("aws")
    until(lambda: "/latest/meta-data/events/recommendations/rebalance" in cloud.asked)
    cloud.action = {"action": "terminate", "time": "2026-11-23T08:22:00Z"}
    cloud.taken = set(cloud.tokens)
    until(lambda: named(site, "preempted"))
    looked = len(cloud.asked)
    until(lambda: len(cloud.asked) > looked + 2)
    told = {"at": "2026-11-23T08:22:00Z", "words": "EC2 will terminate it", "advice": False}
    assert named(site, "preempted") == [told]
    assert process.poll() is None


def test_compute_engine_announces_it_while_the_agent_waits(site, cloud, watching):
    """The long question is answered when it happens; the gateway hears of it at once, and once."""
    watching("gce")
    until(lambda: len(cloud.asked) >= 2)
    assert named(site, "preempted") == []
    cloud.preempt()
    until(lambda: named(site, "preempted"), within_s=5)
    assert [said["words"] for said in named(site, "preempted")] == ["Compute Engine preempts it"]


def test_azure_announces_it_for_this_machine(site, cloud, watching):
    """The events of other machines of its set are not its own."""
    watching("azure")
    cloud.events = [{**PREEMPT, "EventId": "other", "Resources": ["node-vm-4"]}]
    until(lambda: cloud.asked.count("/metadata/scheduledevents") >= 2)
    assert named(site, "preempted") == []
    cloud.events.append(PREEMPT)
    until(lambda: named(site, "preempted"))
    (said,) = named(site, "preempted")
    assert (said["at"], said["words"]) == ("2016-09-19T18:29:47Z", "Azure announces: Preempt")


def test_a_gateway_that_is_away_hears_of_it_later(site, cloud, watching):
    """It is said again until it is heard."""
    watching("gce")
    until(lambda: cloud.asked)
    site.close()
    cloud.preempt()
    until(lambda: "wait: POST" in site.log)
    site.open()
    until(lambda: named(site, "preempted"))


def test_a_recommendation_is_told_as_advice(cloud):
    """EC2's rebalance recommendation may come earlier than the notice, and need not be followed by one."""
    cloud.rebalance = {"noticeTime": "2026-11-23T08:00:00Z"}
    (notice,) = Ec2(Metadata(cloud.address)).look()
    assert (notice.at, notice.advice) == ("2026-11-23T08:00:00Z", True)


def test_a_token_that_has_ended_is_replaced(cloud):
    """After six hours, or whenever the service has forgotten it."""
    announcer = Ec2(Metadata(cloud.address), token="token-of-yesterday")
    with pytest.raises(Unavailable, match="401"):
        list(announcer.look())
    assert list(announcer.look()) == []


def test_an_event_that_has_begun_has_no_time(cloud):
    """Azure then sends an empty one."""
    cloud.events = [{**PREEMPT, "NotBefore": "", "EventStatus": "Started"}]
    (notice,) = Azure(Metadata(cloud.address)).look()
    assert notice.at == ""


def test_a_maintenance_of_azure_is_no_preemption(cloud):
    """Freeze, Reboot and Redeploy come back."""
    cloud.events = [{**PREEMPT, "EventType": kind} for kind in ("Freeze", "Reboot", "Redeploy")]
    assert list(Azure(Metadata(cloud.address)).look()) == []


def test_without_a_service_nothing_is_announced():
    """The agent asks again later, less and less often."""
    with pytest.raises(Unavailable):
        list(ComputeEngine(Metadata("127.0.0.1:9")).look())


def test_a_machine_asks_its_clouds_own_address_only():
    """Neither the invitation nor the environment can send it elsewhere; here, no cloud is found."""
    assert ADDRESS == Metadata().host == "169.254.169.254"
    assert cloud_here() in {"", "aws", "gce", "azure"}
