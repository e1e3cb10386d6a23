"""Machines that really boot, many at once: kernel namespaces, systemd, cloud-init, sshd, munge, slurmd and the agent.

They join the real slurmctld by their own one-time tokens, run one job array and are destroyed.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from faults import GATE, at_gate, first_process, group, kill
from gateway_site import NewSite, Site, eventually

from gateway.bootstrap.lifecycle import toml_text
from gateway.client.gateway import Submission

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(1500)]

NODES = 20
WITHIN_S = 900.0
"""For all of it, on a machine of two cores that does much else."""
LEASE_S = 20
SIZE = {"name": "small", "cores": 1, "memory_mb": 512, "credits_per_hour": 1.0, "max_nodes": NODES}
SCRIPT = """
cloud-init status > status-$SLURM_ARRAY_TASK_ID || true
systemctl is-active ssh slurmd munge burst-node | tr '\\n' ' ' > units-$SLURM_ARRAY_TASK_ID
hostname > host-$SLURM_ARRAY_TASK_ID
# Until every other task has got a node of its own; the first to see that ends while the others have yet to.
until [ "$(squeue -h -t R,CG,CD -j "$SLURM_ARRAY_JOB_ID" -r -o %i | wc -l)" = NODES ]; do sleep 2; done
"""


def test_twenty_machines_boot_at_once_run_an_array_and_are_destroyed(containers: None, new_site: NewSite) -> None:
    """Twenty tasks that wait for each other run on twenty machines; then neither machine nor control group is left."""
    site = new_site(nodes="container", idle_s=5, resume_timeout_s=1800, sizes=toml_text([SIZE]))
    began = time.monotonic()
    with site.login() as gateway:
        script = "#!/bin/bash\n" + SCRIPT.replace("NODES", str(NODES))
        job = gateway.submit(Submission(script, "job.sh", options=(f"--array=1-{NODES}", "--cpus-per-task=1")))
        eventually(lambda: len(site.list_nodes()) == NODES, f"{NODES} machines", WITHIN_S)
        cgroups = [path for node in site.list_nodes() for path in group(site, node.name).paths]
        eventually(lambda: _usable(site) == NODES, f"{NODES} nodes in service", WITHIN_S)
        joined_s = time.monotonic() - began
        view = eventually(lambda: (v := gateway.job(job.burst_id)).finished and v, "the array is settled", WITHIN_S)
    done_s = time.monotonic() - began
    assert view.state == "COMPLETED", (view.reason, site.last_words())
    out = site.directory.parent / "out"
    assert site.burst("fetch", str(job.id), "--to", str(out)).code == 0
    assert len({path.read_text() for path in out.rglob("host-*")}) == NODES
    assert {path.read_text() for path in out.rglob("units-*")} == {"active active active active "}
    assert not [path.read_text() for path in out.rglob("status-*") if "error" in path.read_text()]

    eventually(lambda: not site.list_nodes(), "the machines are gone", WITHIN_S)
    gone_s = time.monotonic() - began
    assert not [path for path in cgroups if path.exists()]
    print(json.dumps({"joined_s": round(joined_s), "done_s": round(done_s), "gone_s": round(gone_s)}))  # noqa: T201


def test_a_machine_powers_itself_off_when_its_gateway_is_dead(containers: None, new_site: NewSite) -> None:
    """The gateway is killed and does not come back: two leases later the machine is off, and nobody told it to."""
    how = {"resume_timeout_s": 600, "lease_s": LEASE_S, "lease_grace_s": 0, "sizes": toml_text([SIZE])}
    site = new_site(nodes="container", idle_s=60, **how)
    job = site.submit(GATE)
    node = at_gate(site, job)
    first = first_process(site, node)
    refused = _log_in_nowhere(site, node)

    kill(site, "gateway")
    killed_at = time.monotonic()
    eventually(lambda: not Path(f"/proc/{first}").exists(), f"{node} is off", WITHIN_S)

    assert time.monotonic() - killed_at > LEASE_S
    assert refused
    eventually(lambda: [machine.state for machine in site.list_nodes()] == ["stopped"], "its cloud says so")
    assert "powering off: its time is over" in _agent_log(site, node)
    site.up()
    site.burst("cancel", str(job.id))
    site.all_gone()


def _usable(site: Site) -> int:
    with site.work() as work:
        return sum(node.state in {"idle", "busy"} for node in work.fleet.all())


def _agent_log(site: Site, node: str) -> str:
    return (site.directory / "cloud" / node / "upper/var/lib/burst/agent.log").read_text()


def _log_in_nowhere(site: Site, node: str) -> bool:
    """Whether its sshd, which is up, lets nobody in without a certificate."""
    address = next(machine.private_ips[0] for machine in site.list_nodes() if machine.name == node)
    words = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    done = subprocess.run(["ssh", *words, f"root@{address}", "true"], capture_output=True, text=True, check=False)
    return "Permission denied (publickey)" in done.stderr
