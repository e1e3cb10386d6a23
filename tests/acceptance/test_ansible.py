"""What an administrator runs: the playbooks over SSH against machines with systemd, and what they leave behind."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_site import PLAYBOOKS, Recap, environment, play, program
from gateway_site import eventually
from system_container import Host, hosts_in

from slurm_plugins.agent.one_file import agent_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

PORT = 8420
READY = f"python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:{PORT}/readyz\").status)'"
UNIT = "burst-gateway.service"

SITE_CONF = """\
ClusterName=site
SlurmctldHost=head-1
SlurmUser=slurm
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmctldPidFile=/run/slurmctld.pid
NodeName=own-1 CPUs=2 NodeAddr=127.0.0.1
PartitionName=own Nodes=own-1 Default=YES
"""
CLOUD = """\
NodeName=cloud-[1-4] State=CLOUD CPUs=2 RealMemory=512
PartitionName=cloud Nodes=cloud-[1-4] MaxTime=60 SuspendTime=300
"""

Runs = dict[str, list[Recap]]


@pytest.fixture(scope="module")
def hosts(containers: None) -> Iterator[dict[str, Host]]:
    """A machine for the gateway, a site's own Slurm controller, and one that is to become a node."""
    names = ["gateway-1", "head-1", "node-1"]
    with tempfile.TemporaryDirectory(prefix="burst-hosts-") as folder, hosts_in(Path(folder), names) as booted:
        yield booted


@pytest.fixture(scope="module")
def runs(hosts: dict[str, Host], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every playbook, run twice: host → what each run did."""
    own_slurm(hosts["head-1"])
    more = {"slurm_plugins_enabled": True, "slurm_plugins_nodes": CLOUD}

    def twice(playbook: str, group: str, host: Host, variables: dict[str, object]) -> list[Recap]:
        known = {"hosts": {host.name: {**host.inventory, "ansible_become": True, **variables}}}
        work = tmp_path_factory.mktemp(host.name)
        return [play(playbook, {group: known}, work)[host.name] for _ in range(2)]

    with ThreadPoolExecutor(3) as pool:
        gateway = pool.submit(twice, "gateway.yml", "gateways", hosts["gateway-1"], {})
        head = pool.submit(twice, "slurm_plugins.yml", "slurm_controllers", hosts["head-1"], more)
        node = pool.submit(twice, "nodes.yml", "nodes", hosts["node-1"], {})
        return {"gateway-1": gateway.result(), "head-1": head.result(), "node-1": node.result()}


@pytest.mark.root
def test_the_second_run_changes_nothing(runs: Runs) -> None:
    """The first run of each playbook changes its host, the second finds all as it should be."""
    assert all(first.changed and not first.failures and not first.unreachable for first, _ in runs.values()), runs
    assert [(name, second.changed, second.failures) for name, (_, second) in runs.items() if second.changed] == []
    assert all(second.ok for _, second in runs.values())


@pytest.mark.root
def test_the_installed_gateway_runs_a_job(hosts: dict[str, Host], runs: Runs) -> None:
    """It is ready, confined and owned by its user; a user of that machine gets a job's receipt from it."""
    gateway = hosts["gateway-1"]
    secrets = "/var/lib/burst-gateway/secrets"

    gateway.run(f"burst login http://127.0.0.1:{PORT} --user demo --password-file {secrets}/demo.password")
    gateway.run("cd /tmp && printf '#!/bin/sh\\necho from $(id -un) > said.txt\\n' > job.sh && burst submit job.sh")
    settled = eventually(lambda: settled_job(gateway), "the job settled", 300)

    assert settled["state"] == "COMPLETED", settled
    assert json.loads(gateway.says("burst receipt 1 --json"))["charged_ucr"] > 0
    gateway.run("cd /tmp && burst fetch 1 --to results")
    assert gateway.says("cat /tmp/results/said.txt") == "from burst"
    assert gateway.says(READY) == "200"
    assert gateway.run(f"systemd-analyze verify /etc/systemd/system/{UNIT}").stderr == ""
    main = gateway.says(f"systemctl show -P MainPID {UNIT}")
    status = gateway.says(f"grep -E '^(NoNewPrivs|CapEff|Seccomp):' /proc/{main}/status").split()
    assert status == ["CapEff:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]
    assert gateway.says(f"stat -c '%U %a' {secrets}") == "burst 700"


@pytest.mark.root
def test_the_service_comes_back_and_leaves_slurm_alone(hosts: dict[str, Host], runs: Runs) -> None:
    """Killed, or told to go on with another release, the gateway is back on the same slurmctld; stopped, all ends."""
    gateway = hosts["gateway-1"]
    slurmctld = gateway.says("pgrep -u burst -x slurmctld")

    first = gateway.says(f"systemctl show -P MainPID {UNIT}")
    gateway.run(f"kill -9 {first}")
    second = eventually(lambda: running(gateway, first), "the killed gateway is back")
    gateway.run(f"systemctl reload {UNIT}")
    third = eventually(lambda: running(gateway, second), "the reloaded gateway is back")

    assert len({first, second, third}) == 3
    assert gateway.says("pgrep -u burst -x slurmctld") == slurmctld
    gateway.run(f"systemctl stop {UNIT}", within_s=300)
    eventually(lambda: not gateway.run("pgrep -u burst", check=False).stdout, "every process of it is gone")
    gateway.run(f"systemctl start {UNIT}", within_s=300)
    assert gateway.says(READY) == "200"


@pytest.mark.root
def test_the_sites_slurm_asks_for_nodes(hosts: dict[str, Host], runs: Runs) -> None:
    """An ordinary user's job for the cloud's partition becomes a request for the gateway; the site's own part stays."""
    head = hosts["head-1"]
    spool = "/var/lib/burst-gateway/spool"

    head.run("cd /tmp && setpriv --reuid=nobody --regid=nogroup --clear-groups sbatch -p cloud --wrap hostname")
    name = eventually(lambda: head.says(f"ls {spool}").partition("\n")[0], "a request")

    request = json.loads(head.says(f"cat {spool}/{name}"))
    assert (request["program"], request["nodes"]) == ("resume", "cloud-1")
    assert head.says(f"stat -c '%U:%G' {spool}/{name}") == "slurm:burst"
    shown = head.says("scontrol show config")
    assert "PrologSlurmctld[0]      = /usr/local/lib/burst/prolog_slurmctld" in shown
    assert head.says("cat /etc/slurm/slurm.conf") == SITE_CONF + "Include /etc/slurm/burst.conf"
    assert "POWER" not in head.says("scontrol show node own-1")


@pytest.mark.root
def test_a_node_holds_the_agent_and_no_key(hosts: dict[str, Host], runs: Runs) -> None:
    """Its agent is the one that an invitation names; slurmd and munge wait for it, and the image holds no key."""
    node = hosts["node-1"]

    assert node.says("sha256sum /usr/local/lib/burst/node_agent.py").split()[0] == sha256(agent_text())
    assert node.run("systemctl is-enabled slurmd munge", check=False).stdout.split() == ["disabled", "disabled"]
    assert node.run("test -e /etc/munge/munge.key", check=False).returncode == 1


def test_the_playbooks_are_production_grade(tmp_path: Path) -> None:
    """ansible-lint has nothing to say, by its strictest profile."""
    done = subprocess.run(
        [program("ansible-lint"), "--offline", "--nocolor", "--profile", "production", "."],
        cwd=PLAYBOOKS,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Profile 'production' was required, and it passed" in done.stdout + done.stderr


def own_slurm(head: Host) -> None:
    """A site's Slurm controller, set up by its own people and without us."""
    head.run("apt-get update -qq && apt-get install -y -qq --no-install-recommends slurmctld", within_s=600)
    text = SITE_CONF.replace("\n", "\\n")
    head.run(f'printf "{text}" > /etc/slurm/slurm.conf && mungekey --create && chown munge: /etc/munge/munge.key')
    head.run("systemctl enable --now munge && systemctl restart slurmctld")


def settled_job(gateway: Host) -> dict[str, str] | None:
    """Job 1, once it is settled."""
    job = json.loads(gateway.says("burst job 1 --json"))
    return job if job["finished"] else None


def running(gateway: Host, before: str) -> str | None:
    """The service's main process, once it is another one than ``before`` and serves."""
    # In one question: between two answers the old process may have gone and the new one not have come.
    shown = dict(line.split("=", 1) for line in gateway.says(f"systemctl show -p ActiveState,MainPID {UNIT}").split())
    serves = shown["ActiveState"] == "active" and shown["MainPID"] not in {before, "0"}
    return shown["MainPID"] if serves else None


def sha256(text: str) -> str:
    """Of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
