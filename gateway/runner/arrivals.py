"""Arrivals: looks for jobs of a site's own sbatch in the cloud partition, and has them taken in or told why not.

Invariant: a job that is refused stays held and says why in its AdminComment; it is asked about again, so that it starts
by itself once its owner, or an administrator, has done what that says.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from gateway.engines.site_jobs import SAID, SiteJob, SiteJobs
from gateway.errors import BurstError, NotFound, SchedulerRefused
from gateway.runner.periodic import Periodic

log = structlog.get_logger(__name__)

TICK_S = 0.5
Welcome = Callable[[SiteJob], object]
"""Takes a job in and lets it start; raises what refuses it."""

AGAIN_S = 5.0
"""How soon a job that was refused, or that was another partition's, is looked at again."""


class Arrivals:
    """One thread."""

    def __init__(self, site: SiteJobs, welcome: Welcome) -> None:
        self._site = site
        self._take_in = welcome
        self._thread = Periodic("arrivals", "look for arrivals", self.tick, TICK_S)
        self._looked: dict[int, float] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the job that is being taken in."""
        self._thread.stop()

    def tick(self) -> None:
        """Look once. Raises SchedulerUnavailable."""
        pending = self._site.pending()
        now = time.monotonic()
        self._looked = {number: at for number, at in self._looked.items() if number in pending}
        for number in sorted(pending):
            if now - self._looked.get(number, -AGAIN_S) >= AGAIN_S:
                self._looked[number] = now
                self._look(number)

    def _look(self, number: int) -> None:
        try:
            found = self._site.look(number)
        except NotFound:
            return
        except SchedulerRefused as error:
            log.warning("not understood", job=number, error=error.detail)
            return
        if _comes_new(found, self._site.partition):
            self._welcome(found)

    def _welcome(self, found: SiteJob) -> None:
        try:
            self._take_in(found)
            log.info("taken in", job=found.id, user=found.user)
        except BurstError as error:
            if error.retryable:
                raise
            log.info("not taken in", job=found.id, user=found.user, why=error.detail)
            self._site.tell(found.id, _sentence(error))


def _sentence(error: BurstError) -> str:
    """A refusal as an AdminComment has it."""
    return "; ".join(filter(None, (error.detail.rstrip("."), error.hint)))


def _comes_new(found: SiteJob, partition: str) -> bool:
    """Whether it waits in the cloud partition and is not known by a token of ours."""
    mine = partition in found.partition.split(",")
    return mine and found.state == "PENDING" and (not found.comment or found.comment.startswith(SAID))
