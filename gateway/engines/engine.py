"""Engine: the port to a Slurm; adapters submit, watch, cancel, signal and requeue jobs, and read and set nodes.

Invariant: an adapter never invents an answer. What Slurm refused is SchedulerRefused in Slurm's own words; what
could not be asked is SchedulerUnavailable, never an empty list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Submission:
    """A batch job for Slurm. ``options`` are sbatch's long ones with their values, "" for one that takes none."""

    token: str
    """Ours, 32 hex digits; stored with the job in Slurm so that it is found again after a lost reply."""
    script: str
    options: Mapping[str, str]
    environment: Mapping[str, str]
    working_directory: str
    arguments: tuple[str, ...] = ()
    """The script's own."""
    user: str | None = None
    """Unix user (name or uid) that the job runs as; None: the engine's default."""


@dataclass(frozen=True)
class SchedulerJob:
    """One job or array task as Slurm sees it. Times are aware UTC; None where Slurm has not set one."""

    id: int
    array_job_id: int | None
    array_task_id: int | None
    token: str
    states: frozenset[str]
    """Base state and flags, e.g. {"PENDING"} or {"COMPLETED", "COMPLETING"}."""
    reason: str
    nodes: tuple[str, ...]
    batch_host: str | None
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    signal: int | None
    restarts: int
    partition: str
    name: str
    user: str
    standard_output: str
    standard_error: str

    BASE_STATES = frozenset(
        {
            "PENDING", "RUNNING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL",
            "PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY",
        }
    )  # fmt: skip

    @property
    def state(self) -> str:
        """The base state, without flags."""
        return next(iter(self.states & self.BASE_STATES), "PENDING")

    @property
    def finished(self) -> bool:
        """Ended, its epilogs done, and not about to run again."""
        waiting = {"PENDING", "RUNNING", "SUSPENDED"}
        again = {"COMPLETING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "STAGE_OUT", "RESIZING"}
        return self.state not in waiting and not self.states & again


_NO_POWER_UP = frozenset({"POWERING_UP", "POWER_UP", "POWERING_DOWN", "POWER_DOWN", "DOWN", "DRAIN", "FAIL", "FUTURE"})


@dataclass(frozen=True)
class SchedulerNode:
    """One node as Slurm sees it."""

    name: str
    states: frozenset[str]
    """Base state and flags, e.g. {"IDLE", "CLOUD", "POWERED_DOWN"}."""
    reason: str
    address: str
    cpus: int
    memory_mb: int
    boot_time: datetime | None

    @property
    def can_power_up(self) -> bool:
        """Whether POWER_UP has an effect; Slurm takes it, and forgets it, while the node is still powering down."""
        return "POWERED_DOWN" in self.states and not self.states & _NO_POWER_UP


class Engine(Protocol):
    """A Slurm cluster. Every method may raise SchedulerUnavailable."""

    name: str

    def version(self) -> str:
        """Slurm's release, e.g. "24.11.5"."""

    def submit(self, submission: Submission) -> int:
        """Give Slurm a job, return its id. Raises SchedulerRefused."""

    def find(self, token: str) -> int | None:
        """The id of the job (for an array, of the whole array) submitted with ``token``; None if there is none."""

    def states(self) -> Mapping[int, frozenset[str]]:
        """States of all jobs that Slurm remembers, cheaply: the only call made for polling."""

    def job(self, job_id: int) -> tuple[SchedulerJob, ...]:
        """A job, or every known task of an array, whole. Raises NotFound."""

    def cancel(self, job_id: int, task: int | None = None) -> None:
        """End a job or one task of it; ending an ended job is no error. Raises NotFound."""

    def signal(self, job_id: int, signal: str, task: int | None = None) -> None:
        """Send a signal by its name ("USR1") to a running job's steps. Raises NotFound, SchedulerRefused."""

    def requeue(self, job_id: int) -> None:
        """Put a running job back into the queue. Raises NotFound, SchedulerRefused."""

    def begin_now(self, job_id: int) -> None:
        """Let a waiting job begin as soon as there is room, whatever begin time it has. Raises SchedulerRefused."""

    def output(self, job_id: int) -> tuple[str, str]:
        """Paths of a job's stdout and stderr on its node, patterns expanded. Raises NotFound."""

    def nodes(self) -> tuple[SchedulerNode, ...]:
        """Every node."""

    def update_nodes(self, names: Iterable[str], state: str, reason: str = "") -> None:
        """Set nodes' state ("DOWN", "POWER_DOWN", "RESUME", "DRAIN", …). Raises SchedulerRefused."""
