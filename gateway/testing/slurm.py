"""SimulatedSlurm: slurmctld's part of bursting in virtual time: jobs, CLOUD nodes, and the programs that it calls.

Invariant: it decides nothing that slurmctld would not: a node is resumed for a job, suspended when it was idle for
long, down when it does not answer, and a job that loses a node is queued again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.engines.engine import SchedulerJob, SchedulerNode, Submission
from gateway.errors import NotFound, SchedulerRefused, SchedulerUnavailable
from gateway.testing.slurm_job import SlurmJob
from gateway.testing.slurm_node import (
    RESUME_TIMEOUT_S,
    SILENT_S,
    SLURMD_TIMEOUT_S,
    SUSPEND_TIME_S,
    SUSPEND_TIMEOUT_S,
    SlurmNode,
)
from gateway.testing.spool import Jobs
from gateway.testing.virtual_time import VirtualTime

OURS = "gateway:"
_REQUEUE_PAUSE_S = 120.0


@dataclass
class SimulatedSlurm:
    """Implements ``Engine``. ``call`` is given each call of a program; ``answering`` tells which nodes answer."""

    time: VirtualTime
    call: Callable[[str, Collection[str], Jobs], None]
    answering: Callable[[], Collection[str]]
    ready: Callable[[SlurmJob], bool]
    """Whether PrologSlurmctld, and the prolog on its nodes, let a job begin."""
    told: Callable[[SlurmNode, str], None] = lambda _node, _state: None
    """Told of each state that the gateway sets, before it is set."""
    name: str = "simulated"
    known: dict[str, SlurmNode] = field(default_factory=dict)
    jobs: dict[int, SlurmJob] = field(default_factory=dict)
    open_jobs: dict[int, SlurmJob] = field(default_factory=dict)
    away_until: float = 0.0
    deaf_until: float = 0.0
    """Until when its interface does not answer, though it works."""
    count: int = 0

    @property
    def away(self) -> bool:
        """Its process is not there."""
        return self.time.seconds < self.away_until

    # ------------------------------------------------------------ what an engine is asked

    def version(self) -> str:
        """See ``Engine.version``."""
        return "24.11.5"

    def submit(self, submission: Submission) -> int:
        """See ``Engine.submit``."""
        self._reached()
        options = submission.options
        return self.take(int(options.get("nodes", "1")), float(options.get("comment", "60")), submission.token).id

    def find(self, token: str) -> int | None:
        """See ``Engine.find``."""
        self._reached()
        return next((job.id for job in self.jobs.values() if job.token == token), None)

    def states(self) -> Mapping[int, frozenset[str]]:
        """See ``Engine.states``."""
        self._reached()
        return {job.id: job.states for job in self.jobs.values()}

    def job(self, job_id: int) -> tuple[SchedulerJob, ...]:
        """See ``Engine.job``."""
        return (self._job(job_id).shown(),)

    def cancel(self, job_id: int, task: int | None = None) -> None:
        """See ``Engine.cancel``."""
        del task
        job = self._job(job_id)
        if job.open:
            self._end(job, "CANCELLED")

    def signal(self, job_id: int, signal: str, task: int | None = None) -> None:
        """See ``Engine.signal``."""
        del signal, task
        self._job(job_id)

    def requeue(self, job_id: int) -> None:
        """See ``Engine.requeue``."""
        job = self._job(job_id)
        if job.state != "RUNNING":
            raise SchedulerRefused("Job is not running")
        self._again(job)

    def begin_now(self, job_id: int) -> None:
        """See ``Engine.begin_now``."""
        job = self._job(job_id)
        if job.state != "PENDING":
            raise SchedulerRefused("Job is not pending")
        job.eligible_at = self.time.seconds

    def output(self, job_id: int) -> tuple[str, str]:
        """See ``Engine.output``."""
        return (f"/jobs/{job_id}.out", f"/jobs/{job_id}.err")

    def nodes(self) -> tuple[SchedulerNode, ...]:
        """See ``Engine.nodes``."""
        self._reached()
        return tuple(node.shown() for node in self.known.values())

    def update_nodes(self, names: Iterable[str], state: str, reason: str = "") -> None:
        """See ``Engine.update_nodes``."""
        self._reached()
        for name in names:
            node = self.known[name]
            self.told(node, state)
            if reason:
                node.reason = reason
            self._set(node, state)

    # ------------------------------------------------------------ what its users and the history do

    def take(self, nodes: int, runs_s: float, token: str = "") -> SlurmJob:
        """Queue a job."""
        self.count += 1
        job = SlurmJob(self.count, token or f"{self.count:032x}", nodes, runs_s, self.time.seconds)
        self.jobs[job.id] = self.open_jobs[job.id] = job
        return job

    def scancel(self, job: SlurmJob) -> None:
        """A user ends a job."""
        self._end(job, "CANCELLED")

    def scontrol_requeue(self, job: SlurmJob) -> None:
        """A user wants it to begin anew."""
        self._again(job)

    def scontrol_drain(self, node: SlurmNode, reason: str) -> None:
        """An administrator takes a node out of service."""
        node.flags.add("DRAIN")
        node.reason = reason

    def scontrol_resume(self, node: SlurmNode) -> None:
        """And back."""
        self._set(node, "RESUME")

    def restart(self, away_s: float) -> None:
        """End slurmctld; it comes back with the state that it had saved."""
        self.away_until = self.time.seconds + away_s
        for node in self.known.values():
            node.heard_at = max(node.heard_at, self.away_until)

    def tick(self) -> None:
        """What slurmctld does every few seconds."""
        if self.away:
            return
        answering = self.answering()
        for node in self.known.values():
            self._hear(node, answering)
        failed = [node.name for node in self.known.values() if self._overdue(node)]
        for job in tuple(self.open_jobs.values()):
            self._carry_on(job)
        resumed = {job: names for job in tuple(self.open_jobs.values()) if (names := tuple(self._place(job)))}
        suspended = [node.name for node in self.known.values() if self._rest(node)]
        if failed:
            self.call("resume_fail", failed, ())
        if resumed:
            jobs = tuple(_in_the_resume_file(job, names) for job, names in resumed.items())
            self.call("resume", [name for names in resumed.values() for name in names], jobs)
        if suspended:
            self.call("suspend", suspended, ())

    # ------------------------------------------------------------ nodes

    def _hear(self, node: SlurmNode, answering: Collection[str]) -> None:
        now = self.time.seconds
        if node.name in answering and "POWERED_DOWN" not in node.flags:
            node.heard_at = now
            node.flags.discard("NOT_RESPONDING")
            if "POWERING_UP" in node.flags:
                node.power("", now)
                node.idle_at = now
            if node.base == "DOWN" and "DRAIN" not in node.flags:
                node.base = "IDLE"  # ReturnToService=2: whatever it was down for
        elif node.up and now - node.heard_at > SILENT_S:
            node.flags.add("NOT_RESPONDING")
            if now - node.heard_at > SLURMD_TIMEOUT_S and node.base == "IDLE":
                node.base, node.reason = "DOWN", node.reason or "Not responding"
                self._lose(node)

    def _overdue(self, node: SlurmNode) -> bool:
        now = self.time.seconds
        if "POWERING_DOWN" in node.flags and now - node.since > SUSPEND_TIMEOUT_S:
            node.power("POWERED_DOWN", now)
        if "POWERING_UP" not in node.flags or now - node.since <= RESUME_TIMEOUT_S:
            return False
        node.power("POWERED_DOWN", now)
        node.base = "DOWN"
        if not node.reason.startswith(OURS):
            node.reason = "ResumeTimeout reached"
        self._lose(node)
        return True

    def _rest(self, node: SlurmNode) -> bool:
        """Whether it is to be suspended now."""
        now = self.time.seconds
        if "POWER_DOWN" in node.flags:
            node.power("POWERING_DOWN", now)
            return True
        if node.up and node.job is None and now - node.idle_at > SUSPEND_TIME_S:
            node.power("POWERING_DOWN", now)
            node.flags.discard("NOT_RESPONDING")
            return True
        return False

    def _set(self, node: SlurmNode, state: str) -> None:
        if state == "DRAIN":
            node.flags.add("DRAIN")
        elif state == "DOWN":
            node.base = "DOWN"
            self._lose(node)
        elif state == "RESUME":
            node.flags -= {"DRAIN"}
            node.base, node.reason = "IDLE", ""
            if "POWERING_DOWN" in node.flags:
                node.power("POWERED_DOWN", self.time.seconds)
        elif state in {"POWER_DOWN", "POWER_DOWN_FORCE"}:
            if "POWERED_DOWN" in node.flags:
                raise SchedulerRefused("Invalid node state specified")
            self._lose(node)
            node.power("POWER_DOWN", self.time.seconds)
        else:
            raise SchedulerRefused(f"Invalid node state specified: {state}")

    def _lose(self, node: SlurmNode) -> None:
        if node.job is not None and (job := self.open_jobs.get(node.job)) is not None:
            self._again(job)

    # ------------------------------------------------------------ jobs

    def _place(self, job: SlurmJob) -> Iterator[str]:
        """Give a waiting job its nodes; those that must be resumed for it."""
        now = self.time.seconds
        if job.state != "PENDING" or now < job.eligible_at:
            return
        fit = sorted((node for node in self.known.values() if node.can_start), key=lambda node: not node.up)
        if len(fit) < job.nodes_wanted:
            return
        job.begin_on(tuple(node.name for node in fit[: job.nodes_wanted]), now)
        for node in fit[: job.nodes_wanted]:
            node.job = job.id
            if "POWERED_DOWN" in node.flags:
                node.power("POWERING_UP", now)
                yield node.name

    def _carry_on(self, job: SlurmJob) -> None:
        now = self.time.seconds
        if job.state != "RUNNING":
            return
        if job.started_at is None:
            if all(self.known[name].usable for name in job.nodes) and self.ready(job):
                job.started_at = now
        elif now - job.started_at >= job.runs_s:
            self._end(job, "COMPLETED")

    def _end(self, job: SlurmJob, state: str) -> None:
        self._free(job)
        job.end(state, self.time.seconds)
        self.open_jobs.pop(job.id, None)

    def _again(self, job: SlurmJob) -> None:
        self._free(job)
        job.requeue(self.time.seconds, self.time.seconds + _REQUEUE_PAUSE_S)

    def _free(self, job: SlurmJob) -> None:
        for name in job.nodes:
            node = self.known[name]
            if node.job == job.id:
                node.job, node.idle_at = None, self.time.seconds

    def _job(self, job_id: int) -> SlurmJob:
        self._reached()
        if (job := self.jobs.get(job_id)) is None:
            raise NotFound(f"Slurm has no job {job_id}.")
        return job

    def _reached(self) -> None:
        if self.away or self.time.seconds < self.deaf_until:
            raise SchedulerUnavailable


def _in_the_resume_file(job: SlurmJob, resumed: Collection[str]) -> Mapping[str, object]:
    return {"job_id": job.id, "nodes_alloc": ",".join(job.nodes), "nodes_resume": ",".join(resumed)}
