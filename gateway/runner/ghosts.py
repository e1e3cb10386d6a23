"""Ghosts: jobs that Slurm believes in though they have ended; a slurmctld that died had not saved their end.

Left alone, one would hold its nodes, or run a second time, until its time limit.
Invariant: a job is cancelled only if it bears the token of one of ours that is past Slurm's part of the route.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import structlog

from gateway.engines.engine import SchedulerJob
from gateway.errors import NotFound
from gateway.jobs.stages import OVER
from gateway.route import Ports

log = structlog.get_logger(__name__)

EVERY_S = 5.0

_ALIVE = frozenset({"PENDING", "RUNNING", "SUSPENDED"})


class Ghosts:
    """Looks for them now and then. For one thread."""

    def __init__(self, ports: Ports, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ports = ports
        self._looked_at = 0.0

    def tick(self) -> None:
        """Cancel those that there are. Raises SchedulerUnavailable."""
        if self._clock() - self._looked_at < EVERY_S:
            return
        self._looked_at = self._clock()
        for task in self._found():
            log.warning("slurm believes in a job that ended", job=task.id)
            self._ports.engine.cancel(task.array_job_id or task.id, task.array_task_id)

    def _found(self) -> Iterator[SchedulerJob]:
        alive = [number for number, states in self._ports.engine.states().items() if states & _ALIVE]
        for number, token in self._ended(alive):
            yield from (task for task in self._ports.engine.job(number) if (task.id, task.token) == (number, token))

    def _ended(self, numbers: list[int]) -> list[tuple[int, str]]:
        """Those numbers of Slurm's under which a job of ours ran that has ended, with its token."""
        with self._ports.reads() as work:
            jobs = {}
            for number in numbers:
                try:
                    jobs[number] = work.jobs.get(work.jobs.attempt_on(number).job)
                except NotFound:
                    continue  # it has not run yet, or is none of ours
        return [(number, job.id) for number, job in jobs.items() if job.stage in OVER]
