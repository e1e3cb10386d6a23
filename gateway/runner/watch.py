"""Watch: which of the jobs that Slurm has are worth a whole look, from one cheap call for all of them.

Invariant: a job whose state changed is due at once, and every job is due now and then, so no change is missed for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from gateway.jobs.store import OpenJob

EVERY_S = 5.0
"""A job is looked at this often though its state is the same: its reason may be another."""

ARRAY_EVERY_S = 1.0
"""The cheap call has one state for all tasks of an array, so arrays are looked at this often."""

MANY = 50
"""Of more jobs than this each is looked at less often, so that looking costs the same however long the queue is."""

States = Mapping[int, frozenset[str]]


@dataclass(frozen=True)
class _Look:
    states: frozenset[str] | None
    at: float


class Watch:
    """Remembers what was seen of each job. For one thread, but for ``forget``."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or time.monotonic
        self._looks: dict[str, _Look] = {}

    def due(self, jobs: Collection[OpenJob], states: States) -> list[OpenJob]:
        """The jobs to look at now, which count as looked at; what is no longer among ``jobs`` is forgotten."""
        now = self._clock()
        slower = max(1.0, len(jobs) / MANY)
        found = [job for job in jobs if self._due(job, _of(job, states), now, slower)]
        looked = {job.id: _Look(_of(job, states), now) for job in found}
        self._looks = {job.id: look for job in jobs if (look := looked.get(job.id) or self._looks.get(job.id))}
        return found

    def forget(self, job_id: str) -> None:
        """Look again: the last look came to nothing."""
        self._looks.pop(job_id, None)

    def _due(self, job: OpenJob, states: frozenset[str] | None, now: float, slower: float) -> bool:
        look = self._looks.get(job.id)
        if look is None or look.states != states or job.cancel_requested:
            return True
        if states is not None and "CONFIGURING" in states:
            return True  # its nodes are being made: Slurm says nothing of how far they are
        return now - look.at >= slower * (ARRAY_EVERY_S if job.array_tasks > 1 else EVERY_S)


def _of(job: OpenJob, states: States) -> frozenset[str] | None:
    return None if job.scheduler_id is None else states.get(job.scheduler_id)
