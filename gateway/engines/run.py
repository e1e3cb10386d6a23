"""Run: hand a job to its engine once, and read from the engine how its tasks are doing.

Invariant: a job is handed over only after the engine was asked for its token, so a lost reply never makes two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.engines.engine import Engine, SchedulerJob, Submission
from gateway.engines.slurm_conf import PARTITION
from gateway.errors import SchedulerRefused
from gateway.jobs.job import NO_TASK, Attempt, Job

_WORST_FIRST = (
    "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "DEADLINE", "FAILED", "PREEMPTED", "CANCELLED", "COMPLETED",
)  # fmt: skip


_SUBMITTERS = ("HOME", "LANG", "TMPDIR")


@dataclass(frozen=True)
class Standing:
    """How all tasks of a job stand."""

    state: str
    reason: str
    """Slurm's reason code of the first task that waits, e.g. "Resources"; "" when none waits."""
    finished: bool
    exit_code: int | None
    tasks: tuple[SchedulerJob, ...]

    @property
    def paused(self) -> tuple[SchedulerJob, ...]:
        """Tasks that ran before and are held back by Slurm, two minutes, for the sake of credentials on old nodes."""
        again = (task for task in self.tasks if task.restarts and task.state == "PENDING")
        # At first no reason is given.
        return tuple(task for task in again if "COMPLETING" not in task.states and task.reason in {"", "BeginTime"})

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Nodes that tasks were given and that are still being made."""
        return tuple(node for task in self.tasks if "CONFIGURING" in task.states for node in task.nodes)


@dataclass(frozen=True)
class Place:
    """Where and as whom jobs run on the nodes."""

    directory: str
    """Parent of the jobs' folders on a node."""
    user: str | None
    partitions: frozenset[str] | None = None
    """Those that the cluster has; None: its own names are used, whatever they are."""
    partition: str | None = None
    """On a cluster that is not ours: the only one that our jobs may go to."""
    unix_names: Mapping[str, str] | None = None
    """There also: a job runs as its owner; the gateway's names of users → the cluster's, where they differ."""

    def user_of(self, job: Job) -> str | None:
        """Whom a job runs as. Raises SchedulerRefused for root on a cluster that is not ours."""
        if self.unix_names is None:
            return self.user
        if (name := self.unix_names.get(job.user, job.user)) == "root":
            raise SchedulerRefused("no job of the gateway runs as root here")
        if not name:
            raise SchedulerRefused(f"{job.user} is linked to no user of the site: burst site claim links you")
        return name

    def knows(self, partition: str) -> bool:
        """Whether every one of a list of partitions is the cluster's."""
        return self.partitions is None or self.partitions.issuperset(partition.split(","))


def submission_of(job: Job, place: Place, environment: Mapping[str, str]) -> Submission:
    """What the engine is given: the script as it was, the job's options, the offer as a constraint."""
    options = {**job.request.options, "job-name": job.request.name}
    # An unchanged script names the partition of the site that it was written for.
    if not place.knows(options.get("partition", PARTITION)):
        del options["partition"]
    if place.partition is not None:
        options["partition"] = place.partition
    asked = options.get("constraint")
    options["constraint"] = f"({asked})&{job.offer}" if asked else job.offer
    return Submission(
        token=job.id,
        script=job.request.script,
        options=options,
        environment=_environment(job, environment),
        working_directory=job.work(place.directory),
        arguments=tuple(job.request.arguments),
        user=place.user_of(job),
    )


def hand_over(engine: Engine, submission: Submission, *, retry: bool) -> int:
    """Submit, unless an earlier try already did. Raises SchedulerRefused, SchedulerUnavailable."""
    if retry and (known := engine.find(submission.token)) is not None:
        return known
    return engine.submit(submission)


def standing(tasks: Iterable[SchedulerJob]) -> Standing:
    """One state for a job of one or many tasks: what runs wins, then what waits, then the worst end."""
    tasks = tuple(tasks)
    states = {task.state for task in tasks}
    waiting = next((task for task in tasks if task.state == "PENDING"), None)
    finished = bool(tasks) and all(task.finished for task in tasks)
    codes = [_exit_code(task) for task in tasks]
    return Standing(
        state="CONFIGURING" if _overall(states) == "RUNNING" and _only_configuring(tasks) else _overall(states),
        reason=waiting.reason if waiting else "",
        finished=finished,
        exit_code=max((code for code in codes if code is not None), default=None) if finished else None,
        tasks=tasks,
    )


def attempts_of(job: Job, tasks: Iterable[SchedulerJob]) -> tuple[Attempt, ...]:
    """The attempts that Slurm has started, as it tells them now."""
    started = (task for task in tasks if task.nodes and task.state != "PENDING" and "CONFIGURING" not in task.states)
    return tuple(attempt_of(job, task) for task in started)


def attempt_of(job: Job, task: SchedulerJob) -> Attempt:
    """The present attempt of one task."""
    return Attempt(
        job=job.id,
        task=task_of(task),
        number=task.restarts,
        scheduler_id=task.id,
        state=task.state,
        nodes=task.nodes,
        ended_at=task.ended_at if task.finished else None,
        exit_code=_exit_code(task) if task.finished else None,
        stdout=task.standard_output,
        stderr=task.standard_error,
    )


def superseded(attempts: Iterable[Attempt], tasks: Iterable[SchedulerJob], now: datetime) -> tuple[Attempt, ...]:
    """The runs that Slurm gave up for a later one: each ends when that is first seen."""
    restarts = {task_of(task): task.restarts for task in tasks}
    return tuple(
        replace(attempt, ended_at=now, state="REQUEUED")
        for attempt in attempts
        if attempt.ended_at is None and attempt.number < restarts.get(attempt.task, 0)
    )


def _environment(job: Job, given: Mapping[str, str]) -> dict[str, str]:
    """A job's variables; what the gateway gives wins, but for what is the submitter's where a job runs in place."""
    asked = job.request.environment
    if not job.request.in_place:
        return {**asked, **given}
    path = ":".join(filter(None, (asked.get("PATH"), given.get("PATH"))))
    return {**asked, **given, **{name: asked[name] for name in _SUBMITTERS if name in asked}, "PATH": path}


def task_of(task: SchedulerJob) -> int:
    """The array index, or NO_TASK."""
    return NO_TASK if task.array_task_id is None else task.array_task_id


def _exit_code(task: SchedulerJob) -> int | None:
    # As a shell tells it: 128 + signal for a job that a signal ended.
    return 128 + task.signal if task.signal else task.exit_code


def _only_configuring(tasks: Iterable[SchedulerJob]) -> bool:
    running = [task for task in tasks if task.state in {"RUNNING", "SUSPENDED"}]
    return all("CONFIGURING" in task.states for task in running)


def _overall(states: set[str]) -> str:
    if "RUNNING" in states or "SUSPENDED" in states:
        return "RUNNING"
    if "PENDING" in states or not states:
        return "PENDING"
    return next((state for state in _WORST_FIRST if state in states), "FAILED")
