"""What administrators do with nodes, by `burst nodes` and `burst reconcile`, on real Slurm and process nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from gateway_site import Site, eventually, site_in

ADMIN = "admin"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A gateway with process nodes that stay for two minutes when idle."""
    with site_in(nodes="process", idle_s=120) as running:
        running.add_user("bob")
        yield running


def node(site: Site, name: str) -> dict[str, Any]:
    """As `burst nodes show` has it."""
    return site.burst("nodes", "show", name, "--json", user=ADMIN).json


def reach(site: Site, name: str, state: str) -> dict[str, Any]:
    """Wait until the node is in a state."""
    return eventually(lambda: (found := node(site, name))["state"] == state and found, f"{name} {state}")


@pytest.fixture
def idle(site: Site) -> str:
    """A node that an administrator had booted, and no job needs."""
    if node(site, "small-1")["state"] != "idle":
        # One that was just given back is refused for as long as Slurm takes to power it down.
        eventually(lambda: site.burst("nodes", "create", "small-1", user=ADMIN).code == 0, "small-1 powered up")
        reach(site, "small-1", "idle")
    return "small-1"


def test_a_node_is_booted_before_any_job_needs_it(site: Site, idle: str) -> None:
    """Given no job, when an administrator creates a node, then it is idle in Slurm, has a lease and costs something."""
    found = node(site, idle)
    assert site.sinfo()[idle] == "idle"
    assert found["ordered_at"]
    assert found["lease_until"]
    assert found["cost_ucr"] > 0
    listed = site.burst("nodes", user=ADMIN).out
    assert idle in listed
    assert "COST" in listed
    assert "LEASE" in listed
    shown = site.burst("nodes", "show", idle, user=ADMIN).out
    assert "Cost so far" in shown
    assert "requested" in shown


def test_a_drained_node_takes_no_job_until_it_is_resumed(site: Site, idle: str) -> None:
    """Given a drained node, Slurm shows who drained it and why, a job for it waits, and runs once it is resumed."""
    done = site.burst("nodes", "drain", idle, "--reason", "broken fan", user=ADMIN)
    assert done.code == 0, done.err
    assert "broken fan (admin)" in site.slurm("scontrol", "show", "node", idle)
    job = site.submit("hostname", f"--nodelist={idle}", "--time=2")
    assert "drain" in site.sinfo()[idle]
    assert site.burst("nodes", "resume", idle, user=ADMIN).code == 0
    assert site.finish(job).state == "COMPLETED"


def test_a_drain_in_the_gateways_own_words_is_refused(site: Site, idle: str) -> None:
    """Given a reason that begins as the gateway's own do, it is refused: the gateway would take it back by itself."""
    refused = site.burst("nodes", "drain", idle, "--reason", "gateway: mine", user=ADMIN)
    assert refused.code != 0
    assert "own" in refused.complaint


def test_a_node_ends_at_once_and_its_job_runs_again(site: Site, idle: str) -> None:
    """Given a job on a node, when the node is ended now, then the job is requeued and ends well on another machine."""
    job = site.submit("sleep 4; hostname", "--requeue", "--time=3")
    before = site.reach(job, "RUNNING")
    name = before.attempts[-1].nodes[0]
    generation = node(site, name)["generation"]
    done = site.burst("nodes", "destroy", name, "--now", user=ADMIN)
    assert done.code == 0, done.err
    eventually(lambda: node(site, name)["state"] == "off" or node(site, name)["generation"] > generation, "it ended")
    assert site.finish(job).state == "COMPLETED"


def test_an_idle_node_ends_when_asked(site: Site, idle: str) -> None:
    """Given an idle node, destroy ends it through Slurm's own power down, and a second one says there is none."""
    assert site.burst("nodes", "destroy", idle, user=ADMIN).code == 0
    reach(site, idle, "off")
    again = site.burst("nodes", "destroy", idle, user=ADMIN)
    assert again.code != 0
    assert "no machine" in again.complaint
    early = site.burst("nodes", "create", idle, user=ADMIN)
    assert early.code != 0
    assert "SuspendTimeout" in early.complaint


def test_the_console_of_a_node_can_be_read(site: Site, idle: str) -> None:
    """Given a machine that printed a line, its console has it; of a node without a machine there is none."""
    console = next(site.directory.glob(f"cloud/**/{idle}/console*"))
    with console.open("a") as file:
        file.write("kernel: something broke\n")
    assert site.burst("nodes", "console", idle, user=ADMIN).out == "kernel: something broke\n"
    none = site.burst("nodes", "console", "small-3", user=ADMIN)
    assert none.code != 0
    assert "no machine" in none.complaint


def test_more_than_there_are_cannot_be_created(site: Site) -> None:
    """Given a size, more nodes than it has are refused with the number that there is, and an unknown name is too."""
    many = site.burst("nodes", "create", "small", "--count", "999", user=ADMIN)
    assert many.code != 0
    assert "999 are asked for" in many.complaint
    unknown = site.burst("nodes", "create", "nothing", user=ADMIN)
    assert "no node and no size" in unknown.complaint


@pytest.mark.parametrize(
    "words",
    [
        ("nodes", "create", "small"),
        ("nodes", "drain", "small-1", "--reason", "x"),
        ("nodes", "resume", "small-1"),
        ("nodes", "destroy", "small-1", "--now"),
        ("nodes", "console", "small-1"),
        ("reconcile", "--dry-run"),
    ],
)
def test_only_administrators_may(site: Site, words: tuple[str, ...]) -> None:
    """Given somebody who is none, each of these is refused, and says who may."""
    refused = site.burst(*words, user="bob")
    assert refused.code != 0
    assert "administrator" in refused.complaint


def test_each_act_is_in_the_audit_log(site: Site, idle: str) -> None:
    """Given what was done above, the audit log has who did it, signed."""
    site.burst("nodes", "drain", idle, "--reason", "audited", user=ADMIN)
    site.burst("nodes", "resume", idle, user=ADMIN)
    acts = site.burst("audit", "--json", user=ADMIN).out
    assert "drain node" in acts
    assert "resume node" in acts
    assert "audited" in acts


def test_reconcile_tells_the_verdict_on_each_node_and_changes_nothing(site: Site, idle: str) -> None:
    """Given an idle node, its record, Slurm and cloud agree, and looking moved nothing."""
    before = node(site, idle)
    done = site.burst("reconcile", "--dry-run", "--json", user=ADMIN)
    assert done.code == 0, done.err
    verdict = next(each for each in done.json["verdicts"] if each["node"] == idle)
    assert (verdict["state"], verdict["cloud"], verdict["act"]) == ("idle", "running", "nothing")
    assert "IDLE" in verdict["slurm"]
    assert done.json["orphans"] == []
    assert done.json["unread"] == {}
    assert _lasting(node(site, idle)) == _lasting(before)


def _lasting(view: dict[str, Any]) -> dict[str, Any]:
    """What does not change by itself."""
    return {name: view[name] for name in ("state", "generation", "since", "machine")}


def test_metrics_count_nodes_launches_and_times(site: Site, idle: str) -> None:
    """Given a node that was made, /metrics has its state, its price, the launch and how long each stage took."""
    text = httpx2.get(f"{site.url}/metrics").text
    assert re.search(r'^burst_nodes\{offer="small",state="idle"\} [1-9]', text, re.MULTILINE)
    assert 'burst_launches_total{cloud="local",outcome="made"}' in text
    assert 'burst_node_state_seconds_count{state="bootstrapped"}' in text
    assert 'burst_orphans{cloud="local"} 0.0' in text
    assert idle not in text
