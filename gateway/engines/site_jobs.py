"""SiteJobs: jobs of a site's own sbatch: those that wait, held, in the cloud partition, and others that may go there.

Invariant: a job is released to the cloud only under the token of a stored job of ours, which from then on is its
AdminComment; until then that says, after "burst: ", what it waits for. A job that the site's own nodes can run is never
held, ended or sent back by us.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.engines.rest_client import RestClient
from gateway.engines.rest_records import job_of, number, state_key
from gateway.errors import NotFound, SchedulerRefused, SchedulerUnavailable
from gateway.jobs.job import Resources
from gateway.slurm.hostlists import expand
from gateway.slurm.units import array_spec

SAID = "burst: "
"""How an AdminComment begins that is a word to the job's owner and no token; job_submit.lua writes the first one."""
ENDLESS_S = 10**9
"""The time limit of a job that has none, in seconds: more than any gateway takes."""

_MOST_INDEX = 4_000_001
"""slurm.conf's MaxArraySize at its most; the site has its own."""

HELD_BY_OWNER = "held by its owner"
"""Stands in job_submit.lua's word on a job that was submitted with --hold."""

MAY_BURST = "burst: may go to the cloud"
"""How job_submit.lua's word begins on a job that was submitted for the cloud beside the site's own partitions."""

_BAR = "\x1f"
_ASKED = ("ArrayJobID", "Partition", "Account", "StartTime", "SubmitTime", "Reason")
_WAITS_FOR_NODES = ("Resources", "Priority", "Nodes required for job are DOWN")


@dataclass(frozen=True)
class Waiting:
    """One line of squeue about a job, or the rest of an array, that waits. Unix times."""

    id: int
    partitions: tuple[str, ...]
    account: str
    start: int | None
    """When Slurm expects it to start; None where it does not say."""
    submitted: int
    reason: str

    @property
    def for_nodes(self) -> bool:
        """Whether nothing but nodes is missing: not its owner's hold, a dependency, or a limit of the site's."""
        return self.reason.startswith(_WAITS_FOR_NODES)


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
    excluded: tuple[str, ...] = ()
    """Nodes that it must not run on."""

    @property
    def held_by_owner(self) -> bool:
        """Whether it is to stay held when it is funded."""
        return HELD_BY_OWNER in self.comment

    @property
    def wishes(self) -> bool:
        """Whether its owner asked for the cloud beside the site's own partitions."""
        return self.comment.startswith(MAY_BURST)


@dataclass(frozen=True)
class SiteJobs:
    """Asks and tells slurmctld; ``scontrol`` is a command that reaches it, with its environment."""

    client: RestClient
    partition: str
    scontrol: tuple[str, ...]
    environment: Mapping[str, str]
    default_time_limit_s: int
    squeue: tuple[str, ...] = ("squeue",)
    nodes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Our nodes by their offer."""

    def pending(self) -> frozenset[int]:
        """Ids of all jobs of the cluster that wait, by the cheap call."""
        jobs = self.client.get("/jobs/state/")["jobs"]
        return frozenset(state_key(job) for job in jobs if "PENDING" in job["state"])

    def waiting(self) -> tuple[Waiting, ...]:
        """All jobs of the cluster that wait, with Slurm's own estimate. Raises SchedulerUnavailable."""
        form = ",".join(f"{name}:{_BAR}" for name in _ASKED)
        command = [*self.squeue, "--noheader", "--states=PENDING", f"--Format={form}"]
        done = subprocess.run(
            command,
            env={**self.environment, "SLURM_TIME_FORMAT": "%s"},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise SchedulerUnavailable(done.stderr.strip() or f"squeue ended with {done.returncode}")
        return tuple(_waiting(line) for line in done.stdout.splitlines() if line.count(_BAR) >= len(_ASKED))

    def has(self, node: str) -> bool:
        """Whether a node is ours."""
        return any(node in names for names in self.nodes.values())

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
        change = self._ours(record, offer) if self.is_cloud_only(found) else self._both(found, offer)
        self.client.send("POST", f"/job/{job_id}", {"admin_comment": token, **change})

    def is_cloud_only(self, found: SiteJob) -> bool:
        """Whether no node but ours may run it."""
        return found.partition == self.partition

    def give_up(self, job_id: int) -> None:
        """End a job that nobody will pay for; one that the site's own nodes may run is left to them."""
        with suppress(NotFound, SchedulerRefused):
            if self.is_cloud_only(self.look(job_id)):
                self.client.kill(str(job_id))

    def _ours(self, record: Mapping[str, Any], offer: str) -> dict[str, Any]:
        """A held job of the cloud partition may start, on nodes of its offer."""
        asked = record.get("features")
        change: dict[str, Any] = {"constraints": f"({asked})&{offer}" if asked else offer}
        if not self._read(record).held_by_owner:
            change["priority"] = {"set": True, "infinite": True, "number": 0}
        return change

    def _both(self, found: SiteJob, offer: str) -> dict[str, Any]:
        """A job of the site's own may start in the cloud too, there on nodes of its offer only.

        A constraint would hold for the site's own nodes as well, so our other nodes are excluded instead.
        """
        others = [node for name, nodes in self.nodes.items() if name != offer for node in nodes]
        change: dict[str, Any] = {"partition": f"{found.partition},{self.partition}"}
        return change | ({"excluded_nodes": sorted({*found.excluded, *others})} if others else {})

    def tell(self, job_id: int, sentence: str) -> None:
        """Say in its AdminComment what it waits for; it stays held. Raises NotFound, SchedulerRefused."""
        said = SAID + sentence
        if self.look(job_id).comment != said:
            self.client.send("POST", f"/job/{job_id}", {"admin_comment": said, "hold": True})

    def tell_at_home(self, job_id: int, sentence: str) -> None:
        """Say in its AdminComment why it may not go to the cloud; it goes on waiting for the site's own nodes."""
        said = f"{MAY_BURST}, but not yet: {sentence}"
        if self.look(job_id).comment != said:
            self.client.send("POST", f"/job/{job_id}", {"admin_comment": said})

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
            excluded=expand(record.get("excluded_nodes") or ""),
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


def _waiting(line: str) -> Waiting:
    job, partitions, account, start, submitted, reason = line.split(_BAR)[: len(_ASKED)]
    return Waiting(
        id=int(job),
        partitions=tuple(partitions.split(",")),
        account="" if account == "(null)" else account,
        start=int(start) if start.isdigit() else None,
        submitted=int(submitted) if submitted.isdigit() else 0,
        reason=reason,
    )


def _tasks(text: str) -> int:
    """Tasks of an array by its indices, 1 for a job that is none."""
    try:
        return array_spec(text, max_size=_MOST_INDEX).tasks if text else 1
    except ValueError as error:
        raise SchedulerRefused(f"Slurm says of its array {text!r}") from error
