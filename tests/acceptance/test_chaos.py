"""Twenty rounds of sudden death at random moments: gateway, slurmctld, node. And a hundred nodes for one job array.

A failed run is repeated with the BURST_SEED that it prints; the moments are the seed's, what runs meanwhile is not.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest
from faults import cut_power, group, kill
from gateway_site import NewSite, Site, eventually

from gateway.bootstrap.lifecycle import toml_text
from gateway.wire import JobView

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(2400)]

ROUNDS = 20
LONGEST_S = 8.0
"""A node boots, a job runs and is staged out within this."""
WORK = "head -c 100000 /dev/urandom > noise; sleep 3; sha256sum noise > sum"
WITHIN_S = 600.0
ENDS = {"COMPLETED", "NODE_FAIL", "TIMEOUT"}
"""NODE_FAIL: slurmctld died within seconds of a job's start, before it saved that the job had begun. TIMEOUT: it died
before it saved that the job had ended, and believes in it until its time is over."""
MANY = 100


def kill_gateway(site: Site, _: random.Random) -> str:
    """Killed, and started again as systemd would."""
    kill(site, "gateway")
    site.up()
    return "gateway"


def kill_slurmctld(site: Site, _: random.Random) -> str:
    """Killed; the gateway starts it again."""
    kill(site, "slurmctld")
    return "slurmctld"


def kill_node(site: Site, chance: random.Random) -> str:
    """One of the machines that there are loses its power."""
    there = sorted(name for node in site.list_nodes() if group(site, name := str(node.name)).pids())
    if not there:
        return "no node there"
    name = chance.choice(there)
    with suppress(ProcessLookupError):
        cut_power(site, name)
    return f"node {name}"


STRIKES: tuple[Callable[[Site, random.Random], str], ...] = (kill_gateway, kill_slurmctld, kill_node)


def test_i22_every_job_ends_once_whatever_dies_when(new_site: NewSite, containers: None) -> None:
    """Given jobs of one and two nodes, when gateway, slurmctld or a node die at random moments over twenty rounds,
    then every job ends once with one receipt, no node is left, and the ledger is exact."""
    seed = int(os.environ.get("BURST_SEED") or secrets.randbits(32))
    print(f"BURST_SEED={seed}")  # noqa: T201 - for who repeats it
    chance, pause = random.Random(seed), threading.Event()
    site = new_site(nodes="container", idle_s=5)
    before_ucr = balance(site)
    jobs: list[JobView] = []
    for number in range(ROUNDS):
        jobs += [site.submit(WORK, "--time=5", *options) for options in ((), ("--nodes=2",))]
        pause.wait(chance.uniform(0, LONGEST_S))
        print(f"round {number}: {chance.choice(STRIKES)(site, chance)}", flush=True)  # noqa: T201 - for who repeats it
    ended = [end(site, job) for job in jobs]
    print(Counter(job.state for job in ended), "runs:", Counter(len(job.attempts) for job in ended))  # noqa: T201 - for who repeats it
    for job in ended:
        if job.state != "COMPLETED":
            print(job.id, job.state, job.reason, job.attempts)  # noqa: T201 - for who repeats it
    assert {job.state for job in ended} <= ENDS
    assert sum(job.state == "COMPLETED" for job in ended) >= len(ended) * 3 // 4
    settled_exactly(site, ended, before_ucr)
    nothing_is_left(site)


def test_a_hundred_nodes_for_one_array(new_site: NewSite) -> None:
    """Given a size of a hundred nodes, an array whose tasks fill one each has all of them up at the same time; its
    tasks are done, its nodes gone, and what it cost is what the tasks used."""
    tiny = [{"name": "tiny", "cores": 1, "memory_mb": 128, "credits_per_hour": 1, "max_nodes": MANY}]
    site = new_site(nodes="process", idle_s=10, resume_timeout_s=900, sizes=toml_text(tiny))
    before_ucr, most = balance(site), 0
    waits = f'touch "{site.directory}/here-$SLURM_ARRAY_TASK_ID"; until [ -e {site.directory}/gate ]; do sleep 1; done'
    site.directory.chmod(0o777)
    job = site.submit(waits, f"--array=1-{MANY}", "--exclusive", "--time=60")

    def all_here() -> bool:
        nonlocal most
        most = max(most, len(site.nodes_up()))
        return len(list(site.directory.glob("here-*"))) == MANY

    eventually(all_here, "all tasks run at the same time", WITHIN_S * 2)
    print(f"{most} nodes up at once")  # noqa: T201 - for who repeats it
    (site.directory / "gate").touch()
    ended = end(site, job)
    assert most == MANY
    assert ended.state == "COMPLETED"
    settled_exactly(site, [ended], before_ucr)
    nothing_is_left(site)


def end(site: Site, job: JobView) -> JobView:
    """Its last view, however long it takes."""
    with site.login() as client:
        return eventually(
            lambda: (view := client.job(job.burst_id)).finished and view, f"job {job.id} settled", WITHIN_S
        )


def balance(site: Site) -> int:
    """What the account has, nothing of it held."""
    with site.work() as work:
        return work.ledger.balance("demo").available_ucr


def settled_exactly(site: Site, jobs: list[JobView], before_ucr: int) -> None:
    """One receipt a job, all holds settled, the chain whole, and the balance less by exactly what the receipts say."""
    with site.login() as client:
        receipts = [client.receipt(job.burst_id) for job in jobs]
    for job, receipt in zip(jobs, receipts, strict=True):
        assert site.rows("SELECT number FROM receipts WHERE job = ?", job.burst_id) == [(receipt.number,)]
    assert site.rows("SELECT job FROM holds WHERE state != 'settled'") == []
    assert balance(site) == before_ucr - sum(receipt.charged_ucr for receipt in receipts)
    with site.work() as work:
        work.ledger.verify_chain()


def nothing_is_left(site: Site) -> None:
    """The cloud has no machine, Slurm no node up, and the gateway knows of none."""
    with site.login() as client:
        eventually(lambda: not site.list_nodes() and not client.nodes(), "no node is left", WITHIN_S)
    eventually(lambda: not site.nodes_up(), "Slurm has every node powered down")
