"""From submission to a job's first line on a node that did not exist, cut into what is whose."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.site import Site, say
from bench.slurmctld_log import SlurmctldLog
from gateway.client.gateway import Gateway, Submission
from gateway.client.session import Session
from gateway.provisioning.lifecycle import NodeState
from gateway.storage.database import Database
from gateway.storage.nodes import SqlFleet

SCRIPT = "#!/bin/sh\n#SBATCH --time=2 --job-name=cold\ndate +%s.%N\nsleep 1\n"

OWNERS = {
    "accept": "gateway",
    "schedule": "slurm",
    "order": "gateway",
    "boot": "machine",
    "join": "gateway",
    "register": "slurm",
    "release": "gateway",
    "prolog": "gateway",
    "launch": "slurm",
}
"""Whose each part is."""


@dataclass(frozen=True)
class Start:
    """One cold start: the parts of the time from the client's call to the job's first line, in order, in seconds."""

    accept: float
    """The client calls, until slurmctld has the job."""
    schedule: float
    """Until slurmctld calls ResumeProgram."""
    order: float
    """Until the gateway calls the cloud."""
    boot: float
    """Until the machine is up: cloud-init has ended; of a process node: its process runs."""
    join: float
    """Until the node has traded its token."""
    register: float
    """munged and slurmd start, until slurmctld hears from the node."""
    release: float
    """Until PrologSlurmctld has returned."""
    prolog: float
    """Until slurmctld knows that the node agent's Prolog is done."""
    launch: float
    """Until the job prints."""

    @property
    def seconds(self) -> dict[str, float]:
        """The parts by name."""
        return asdict(self)

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.seconds.values())

    def share(self, owner: str) -> float:
        """The sum of one owner's parts."""
        return sum(seconds for part, seconds in self.seconds.items() if OWNERS[part] == owner)


def measure(site: Site, count: int) -> list[Start]:
    """Start ``count`` jobs, one after the other, each when no node is left."""
    site.scontrol("setdebugflags", "+power")
    site.scontrol("setdebug", "debug2")
    try:
        with SlurmctldLog(site.slurmctld_log) as log, Gateway(Session(site.profile)) as gateway:
            return [_one(site, gateway, log) for _ in range(count)]
    finally:
        site.scontrol("setdebug", "info")


def parts(starts: Iterable[Start]) -> dict[str, float]:
    """Median of each part."""
    starts = list(starts)
    return {part: median(getattr(start, part) for start in starts) for part in OWNERS}


def _one(site: Site, gateway: Gateway, log: SlurmctldLog) -> Start:
    while gateway.nodes():
        time.sleep(0.2)
    sent = time.time()
    job = gateway.submit(Submission(SCRIPT, "cold")).id or 0
    node, up = _watch(site, gateway, job)
    printed = float(re.findall(r"\d+\.\d+", gateway.logs(job))[0])
    start = _cut(sent, _marks(site, log, job, node, sent), up, printed)
    say(f"{site.form} node: {start.total:.2f} s, of it the gateway's {start.share('gateway'):.2f} s")
    return start


def _watch(site: Site, gateway: Gateway, job: int) -> tuple[str, float]:
    """The node, and when its machine was up, read while it is there; returns when the job has settled."""
    found = None
    for view in gateway.watch(job):
        if found is None and view.attempts and view.attempts[0].nodes:
            node = view.attempts[0].nodes[0]
            found = node, _up(site.settings.cloud_dir / node)
    if found is None:
        raise RuntimeError(f"job {job} ran nowhere: {view.state}")
    return found


def _up(machine: Path) -> float:
    of_cloud_init = machine / "upper/var/lib/cloud/data/result.json"
    return (of_cloud_init if (machine / "upper").exists() else machine / "machine.pid").stat().st_mtime


def _marks(site: Site, log: SlurmctldLog, job: int, node: str, sent: float) -> dict[str, float]:
    return {
        "has it": log.first(rf"_slurm_rpc_submit_batch_job: JobId={job}\b", sent),
        "wakes": log.first(rf"power_save: waking nodes {node}\b", sent),
        **_told(site, node),
        "hears": log.first(rf"Node {node}/\S+ powered up", sent),
        "released": log.first(rf"prolog_slurmctld JobId={job} prolog completed", sent),
        "prepared": log.first(rf"_slurm_rpc_complete_prolog JobId={job}\b", sent),
    }


def _told(site: Site, node: str) -> dict[str, float]:
    """From the node's timeline of its present generation."""
    database = Database(site.settings.database_url)
    with database.read() as connection:
        events = SqlFleet(connection).timeline(node)
    database.close()
    at = {event.kind: event.at.timestamp() for event in reversed(events)}
    return {"ordered": at[NodeState.REQUESTED], "joined": at[NodeState.BOOTSTRAPPED]}


def _cut(sent: float, marks: dict[str, float], up: float, printed: float) -> Start:
    # The agent is started by cloud-init's last stage and may join before that has ended.
    up = min(up, marks["joined"])
    moments = [sent, marks["has it"], marks["wakes"], marks["ordered"], up, marks["joined"]]
    moments += [marks["hears"], marks["released"], marks["prepared"], printed]
    return Start(*(after - before for before, after in pairwise(moments)))
