"""JobStore: the port to stored jobs, their attempts, manifests' parts and timelines.

Invariant: a job is never deleted, and a stage is recorded only from the stage it was decided on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.jobs.job import Attempt, Event, Job
from gateway.jobs.stages import Stage


@dataclass(frozen=True)
class Part:
    """What one node staged out of one attempt; ``files`` are ManifestEntry documents."""

    node: str
    files: tuple[Mapping[str, Any], ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class OpenJob:
    """What must be known of each of many jobs to see whether it can go on: neither its script nor its history."""

    id: str
    scheduler_id: int | None
    stage: Stage
    submitted_at: datetime
    cancel_requested: bool
    array_tasks: int


class JobStore(Protocol):
    """The stored jobs."""

    def add(self, job: Job) -> None:
        """Keep a new job."""

    def get(self, job_id: str) -> Job:
        """A job by its own id. Raises NotFound."""

    def by_scheduler_id(self, scheduler_id: int) -> Job:
        """A job by the id that Slurm gave it. Raises NotFound."""

    def at(self, stages: Collection[Stage]) -> tuple[OpenJob, ...]:
        """Every job at one of ``stages``, oldest first."""

    def page(self, user: str | None, before: str | None, limit: int, state: str | None) -> tuple[Job, ...]:
        """Newest first; ``before`` is the id of the last job of the page before."""

    def owned(self, user: str, wanted: Collection[object]) -> frozenset[object]:
        """Those of ``wanted`` that are the user's jobs: ids of our own (str), or ids that Slurm gave (int)."""

    def recorded(
        self, user: str | None, numbers: Collection[int], since: datetime | None, until: datetime | None, most: int
    ) -> tuple[Job, ...]:
        """The newest ``most`` that Slurm has had, oldest first.

        Of ``numbers`` (none: all), not ended before ``since``, submitted up to ``until``.
        """

    def move(self, job: Job, stage: Stage, now: datetime, text: str, **facts: Any) -> Job:
        """Record a legal move and say what was done; ``facts`` are fields of Job. Raises Conflict."""

    def note(self, job: Job, **facts: Any) -> Job:
        """Record facts without a move."""

    def tell(self, job_id: str, now: datetime, kind: str, text: str) -> None:
        """Add a line to a job's timeline, unless it is the same as the last one."""

    def timeline(self, job_id: str) -> tuple[Event, ...]:
        """A job's timeline, oldest first."""

    def put_attempt(self, attempt: Attempt) -> None:
        """Keep what is known of an attempt; nothing known before is forgotten."""

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """A job's attempts by task and number."""

    def latest_attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """The last attempt of each task, by task."""

    def attempt_on(self, scheduler_id: int) -> Attempt:
        """The latest attempt that Slurm runs under this id. Raises NotFound."""

    def begun_on(self, user: str, node: str) -> tuple[Attempt, ...]:
        """The user's runs that began on a node and are not known to have ended there."""

    def add_part(self, attempt: Attempt, part: Part, now: datetime) -> None:
        """Keep one node's part of an attempt's manifest; a node's second report replaces its first."""

    def parts(self, attempt: Attempt) -> Sequence[Part]:
        """The parts of an attempt's manifest that have arrived, by node."""

    def reported(self, job_id: str, label: str, node: str) -> bool:
        """Whether a node's part of the attempt ``label`` has arrived."""
