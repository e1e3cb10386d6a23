"""JobRunner: takes every job that is not at its end one step further, as soon as it can go.

A job that Slurm has is looked at when its state changed (``watch``): a thousand waiting jobs cost one call a tick.

Invariant: one job is in one worker's hand at a time, the submitting request's included.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import structlog

from gateway.errors import BurstError, Conflict, InvalidRequest, SchedulerRefused
from gateway.jobs.job import Job
from gateway.jobs.stages import ROUTE_ORDER, Stage
from gateway.jobs.store import OpenJob
from gateway.route import ROUTE, Hands, Ports, refuse, step
from gateway.runner.ghosts import Ghosts
from gateway.runner.periodic import attempt
from gateway.runner.watch import States, Watch

log = structlog.get_logger(__name__)

_BUSY_TICK_S = 0.25
_QUIET_TICK_S = 5.0

_SUBMITTING_FOR = timedelta(seconds=30)
"""So long a job that Slurm does not have yet belongs to the request that submits it."""

_NOT_WITH_SLURM = frozenset({Stage.FUNDED, Stage.STAGED_IN})


@dataclass
class JobRunner:
    """One thread that looks, and a pool that acts."""

    ports: Ports
    hands: Hands
    workers: int = 8
    clock: Callable[[], float] = time.monotonic
    """Seconds that only go forward."""
    pool: Executor | None = None
    """What acts; None: ``workers`` threads of its own."""

    def __post_init__(self) -> None:
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._pool = self.pool or ThreadPoolExecutor(self.workers, thread_name_prefix="job")
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._watch = Watch(self.clock)
        self._ghosts = Ghosts(self.ports, self.clock)
        self._first = True

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the steps that are under way; what waits for its turn is done by the next process."""
        self._stop.set()
        self.wake()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def wake(self) -> None:
        """Look now: something happened."""
        self._wake.set()

    def tick(self) -> bool:
        """Look once; whether any job is on its way."""
        with self.ports.reads() as work:
            jobs = [job for job in work.jobs.at(list(ROUTE)) if self._ours(job)]
        # After a restart nobody is submitting: what an earlier process left is taken up at once.
        self._first = False
        with_slurm = [job for job in jobs if job.stage is Stage.QUEUED]
        others = [job for job in jobs if job.stage is not Stage.QUEUED]
        for job in (*others, *self._watch.due(with_slurm, self._states() if with_slurm else {})):
            if self.hands.take(job.id):
                self._pool.submit(self._go, job)
        return bool(jobs)

    def _states(self) -> States:
        try:
            return self.ports.engine.states()
        except BurstError as error:
            log.warning("slurm not read", error=error.detail)
            return {}

    def _ours(self, job: OpenJob) -> bool:
        if job.stage not in _NOT_WITH_SLURM or self._first or job.cancel_requested:
            return True
        return self.ports.now() - job.submitted_at > _SUBMITTING_FOR

    def _go(self, job: OpenJob) -> None:
        what = f"take job {job.id} on from {job.stage}"
        try:
            if attempt(what, lambda: self._advance(job.id), failed=None) is None:
                self._watch.forget(job.id)
        finally:
            self.hands.give_back(job.id)

    def _advance(self, job_id: str) -> Job:
        """As far as it goes now."""
        with self.ports.reads() as work:
            job = work.jobs.get(job_id)
        while job.stage in ROUTE:
            before = job.stage
            try:
                job = step(job, self.ports)
            except (SchedulerRefused, InvalidRequest) as error:
                if before not in _NOT_WITH_SLURM:
                    raise  # Slurm has the job: what it refused now is something else
                job = refuse(job, self.ports, error)
            except Conflict:
                break
            if ROUTE_ORDER.index(job.stage) == ROUTE_ORDER.index(before):
                break
        return job

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            busy = attempt("look at the jobs", self.tick, failed=True)
            attempt("look for ghosts", self._ghosts.tick, failed=None)
            # However many jobs there are and however often they wake it, looking takes no more than half of the time.
            self._stop.wait(time.monotonic() - begun)
            self._wake.wait(_BUSY_TICK_S if busy else _QUIET_TICK_S)
            self._wake.clear()
