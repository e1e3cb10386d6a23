"""SiteJobs: the jobs that a site's own sbatch put into the cloud partition, held until the gateway has funded them.

Invariant: a job is released only under the token of a stored job of ours, which from then on is its AdminComment; until
then that says, after "burst: ", what it waits for.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.engines.rest_client import RestClient
from gateway.engines.rest_records import job_of, number, state_key
from gateway.errors import NotFound, SchedulerRefused
from gateway.jobs.job import Resources
from gateway.slurm.units import array_spec

SAID = "burst: "
"""How an AdminComment begins that is a word to the job's owner and no token; job_submit.lua writes the first one."""
ENDLESS_S = 10**9
"""The time limit of a job that has none, in seconds: more than any gateway takes."""

_MOST_INDEX = 4_000_001
"""slurm.conf's MaxArraySize at its most; the site has its own."""

HELD_BY_OWNER = "held by its owner"
"""Stands in job_submit.lua's word on a job that was submitted with --hold."""


@dataclass(frozen=True)
class SiteJob:
    """One job of the cloud partition, or a whole array, that no job of the gateway is behind yet."""

    id: int
    user: str
    uid: int
    name: str
    partition: str
    directory: str
    resources: Resources
    comment: str
    """Its AdminComment."""
    state: str
    held: bool
    het: bool
    """A part of a heterogeneous job."""

    @property
    def held_by_owner(self) -> bool:
        """Whether it is to stay held when it is funded."""
        return HELD_BY_OWNER in self.comment


@dataclass(frozen=True)
class SiteJobs:
    """Asks and tells slurmctld; ``scontrol`` is a command that reaches it, with its environment."""

    client: RestClient
    partition: str
    scontrol: tuple[str, ...]
    environment: Mapping[str, str]
    default_time_limit_s: int

    def pending(self) -> frozenset[int]:
        """Ids of all jobs of the cluster that wait, by the cheap call."""
        jobs = self.client.get("/jobs/state/")["jobs"]
        return frozenset(state_key(job) for job in jobs if "PENDING" in job["state"])

    def look(self, job_id: int) -> SiteJob:
        """A job as it is now. Raises NotFound."""
        return self._read(self._record(job_id))

    def script(self, job_id: int) -> str:
        """A batch job's script. Raises NotFound for a job without one (srun, salloc)."""
        done = self._run("write", "batch_script", str(job_id), "-")
        if done.returncode:
            raise NotFound(f"job {job_id} has no batch script")
        return done.stdout

    def release(self, job_id: int, token: str, offer: str) -> None:
        """Make it ours and let it start on nodes of ``offer``; done again it changes nothing.

        Raises NotFound, or SchedulerRefused when it has ended or can never start there.
        """
        record = self._record(job_id)
        found = self._read(record)
        if found.comment == token:
            return
        asked = record.get("features")
        change: dict[str, Any] = {"admin_comment": token, "constraints": f"({asked})&{offer}" if asked else offer}
        if not found.held_by_owner:
            change["priority"] = {"set": True, "infinite": True, "number": 0}
        self.client.send("POST", f"/job/{job_id}", change)

    def tell(self, job_id: int, sentence: str) -> None:
        """Say in its AdminComment what it waits for; it stays held. Raises NotFound, SchedulerRefused."""
        said = SAID + sentence
        if self.look(job_id).comment != said:
            self.client.send("POST", f"/job/{job_id}", {"admin_comment": said, "hold": True})

    def send_back(self, job_id: int, sentence: str) -> None:
        """A job that started though nobody pays for it: back into the queue, held; one that cannot wait is ended."""
        if self._run("requeuehold", str(job_id)).returncode:
            self.client.kill(str(job_id))
            return
        self.client.send("POST", f"/job/{job_id}", {"admin_comment": SAID + sentence})

    def _record(self, job_id: int) -> dict[str, Any]:
        jobs = self.client.get(f"/job/{job_id}")["jobs"]
        if not jobs:
            raise NotFound(f"Slurm knows no job {job_id}")
        # Of an array the record of the tasks that wait together has no task id.
        return dict(next((job for job in jobs if number(job.get("array_task_id")) is None), jobs[0]))

    def _read(self, record: Mapping[str, Any]) -> SiteJob:
        known = job_of(record)
        return SiteJob(
            id=known.array_job_id or known.id,
            user=known.user,
            uid=int(record["user_id"]),
            name=known.name,
            partition=known.partition,
            directory=str(Path(record.get("current_working_directory") or "/")),
            resources=resources_of(record, self.default_time_limit_s),
            comment=known.token,
            state=known.state,
            held=bool(record.get("hold")),
            het=bool(number(record.get("het_job_id"))),
        )

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.scontrol, *words], env=dict(self.environment), capture_output=True, text=True, check=False
        )


def resources_of(record: Mapping[str, Any], default_time_limit_s: int) -> Resources:
    """What slurmctld understood that the job asks for; v0.0.42's names, times there in minutes."""

    def figure(name: str) -> int:
        return number(record.get(name)) or 0

    minutes = record.get("time_limit")
    endless = isinstance(minutes, Mapping) and minutes.get("infinite")
    return Resources(
        nodes=max(1, figure("node_count")),
        cpus_per_node=max(1, figure("minimum_cpus_per_node")),
        memory_mb_per_node=figure("memory_per_node"),
        memory_mb_per_cpu=figure("memory_per_cpu"),
        time_limit_s=ENDLESS_S if endless else figure("time_limit") * 60 or default_time_limit_s,
        array_tasks=_tasks(record.get("array_task_string") or ""),
        max_nodes=figure("max_nodes"),
        tasks=figure("tasks"),
        cpus_per_task=max(1, figure("cpus_per_task")),
        tasks_per_node=figure("tasks_per_node"),
    )


def _tasks(text: str) -> int:
    """Tasks of an array by its indices, 1 for a job that is none."""
    try:
        return array_spec(text, max_size=_MOST_INDEX).tasks if text else 1
    except ValueError as error:
        raise SchedulerRefused(f"Slurm says of its array {text!r}") from error
