"""Arrivals: looks at a site's waiting jobs; those of the cloud partition are taken in, others if policy says so.

Invariant: a job of the cloud partition that is refused stays held and says why in its AdminComment; it is asked about
again, so that it starts by itself once what that says is done. A job of the site's own partitions is never held, and
whatever fails here leaves it where it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from gateway.engines.site_jobs import SAID, SiteJob, SiteJobs, Waiting
from gateway.engines.site_policy import BurstPolicy
from gateway.errors import BurstError, NotFound, SchedulerRefused
from gateway.runner.periodic import Periodic

log = structlog.get_logger(__name__)

TICK_S = 0.5

AGAIN_S = 5.0
"""How soon a job of the cloud partition that was refused is looked at again, and all others are."""

LATER_S = 60.0
"""How soon a job of the site's own partitions is asked about again when it could not be taken in."""


class Host(Protocol):
    """Takes jobs in: ``gateway.service.arrivals.ArrivalService``."""

    def welcome(self, found: SiteJob, most_ucr: int | None = None) -> object:
        """Fund a job and let it start; raises what refuses it."""

    def in_cloud(self) -> int:
        """How many of the site's jobs are there."""


class Arrivals:
    """One thread. ``clock`` is monotonic, ``now`` Unix time; both in seconds."""

    def __init__(
        self,
        site: SiteJobs,
        host: Host,
        policy: BurstPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._site = site
        self._host = host
        self._policy = policy
        self._clock = clock
        self._now = now
        self._thread = Periodic("arrivals", "look for arrivals", self.tick, TICK_S)
        self._known: frozenset[int] = frozenset()
        self._wishes: set[int] = set()
        self._not_before: dict[int, float] = {}
        self._again_at = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the job that is being taken in."""
        self._thread.stop()

    def tick(self) -> None:
        """Look once; nothing but the cheap call is made when nothing is new. Raises SchedulerUnavailable."""
        pending = self._site.pending()
        new = pending - self._known
        if not new and self._clock() < self._again_at:
            return
        waiting = self._site.waiting()
        self._forget({job.id for job in waiting})
        for job in waiting:
            if self._policy.cloud in job.partitions:
                self._arrived(job.id)
            elif job.id not in self._known:
                self._wish(job.id)
        self._burst(waiting)
        self._known = pending & {job.id for job in waiting}
        self._again_at = self._clock() + AGAIN_S

    def _forget(self, pending: set[int]) -> None:
        self._wishes &= pending
        self._not_before = {number: at for number, at in self._not_before.items() if number in pending}

    def _arrived(self, number: int) -> None:
        """One in the cloud partition."""
        if self._clock() < self._not_before.get(number, 0.0):
            return
        self._not_before[number] = self._clock() + AGAIN_S
        found = self._look(number)
        if found is not None and _comes_new(found):
            self._welcome(found)

    def _wish(self, number: int) -> None:
        """A new one elsewhere: whether its owner wants the cloud as well."""
        if (found := self._look(number)) is not None and found.wishes:
            self._wishes.add(number)

    def _burst(self, waiting: tuple[Waiting, ...]) -> None:
        due = [job for job in waiting if self._clock() >= self._not_before.get(job.id, 0.0)]
        if not self._wishes and not self._policy.partitions:
            return
        for job in self._policy.chosen(due, self._wishes, self._now(), self._host.in_cloud()):
            found = self._look(job.id)
            if found is not None and _comes_new(found) and not found.held:
                self._move(found)
            # Not before: where slurmctld was away in the middle of it, the next tick tries again.
            self._not_before[job.id] = self._clock() + LATER_S

    def _move(self, found: SiteJob) -> None:
        try:
            self._host.welcome(found, self._policy.most_ucr)
            log.info("may go to the cloud too", job=found.id, user=found.user)
        except BurstError as error:
            if error.retryable:
                raise
            log.info("stays at home", job=found.id, user=found.user, why=error.detail)
            if found.wishes:
                self._site.tell_at_home(found.id, _sentence(error))

    def _welcome(self, found: SiteJob) -> None:
        try:
            self._host.welcome(found)
            log.info("taken in", job=found.id, user=found.user)
        except BurstError as error:
            if error.retryable:
                raise
            log.info("not taken in", job=found.id, user=found.user, why=error.detail)
            self._site.tell(found.id, _sentence(error))

    def _look(self, number: int) -> SiteJob | None:
        try:
            return self._site.look(number)
        except NotFound:
            return None
        except SchedulerRefused as error:
            log.warning("not understood", job=number, error=error.detail)
            return None


def _sentence(error: BurstError) -> str:
    """A refusal as an AdminComment has it."""
    return "; ".join(filter(None, (error.detail.rstrip("."), error.hint)))


def _comes_new(found: SiteJob) -> bool:
    """Whether it waits, and is known neither by a token of ours nor by a comment of the site's own."""
    return found.state == "PENDING" and (not found.comment or found.comment.startswith(SAID))
