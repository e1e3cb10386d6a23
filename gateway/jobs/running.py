"""Running: whether one attempt of a job may still act in the job's name.

Invariant: what has ended, was cancelled or was superseded never runs again.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.jobs.job import Attempt, Job
from gateway.jobs.stages import OVER


def running(job: Job, latest: Iterable[Attempt], label: str) -> Attempt | None:
    """The attempt ``label`` of ``job`` if it is running; ``latest`` are the newest attempts of the job's tasks."""
    # A job may start on its node before the gateway has noted that Slurm took it.
    if job.stage in OVER or job.cancel_requested:
        return None
    return next((each for each in latest if each.label == label and each.started_at and each.ended_at is None), None)
