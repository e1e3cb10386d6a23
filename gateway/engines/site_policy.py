"""BurstPolicy: which of a site's waiting jobs may go to the cloud beside the site's own partitions.

Invariant: pure, and slurmctld's word alone decides: a job that waits for anything but nodes is never moved, and none is
while as many of the site's jobs are in the cloud as may be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gateway.engines.site_jobs import Waiting

ANY = "*"


@dataclass(frozen=True)
class BurstPolicy:
    """What ``[site.burst]`` of burst.toml says. ``after_s`` in seconds; ``most_ucr`` None: no cap for one job."""

    cloud: str
    """Name of the cloud partition."""
    partitions: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    after_s: int = 1800
    max_jobs: int = 20
    most_ucr: int | None = None

    def chosen(
        self, waiting: Iterable[Waiting], wishes: Collection[int], now: float, in_cloud: int
    ) -> tuple[Waiting, ...]:
        """The jobs to move now, those first that wait longest, as many as there is room for.

        ``wishes``: jobs whose owners asked for the cloud too; ``in_cloud``: how many of the site's are there.
        """
        room = max(0, self.max_jobs - in_cloud)
        due = [job for job in waiting if self._is_at_home(job) and (job.id in wishes or self._is_late(job, now))]
        return tuple(sorted(due, key=lambda job: (job.submitted, job.id))[:room])

    def _is_at_home(self, job: Waiting) -> bool:
        return job.for_nodes and self.cloud not in job.partitions

    def _is_late(self, job: Waiting, now: float) -> bool:
        """Whether it opted in and Slurm expects it too late; without an estimate, it has waited so long already.

        An estimate that has passed is none: Slurm leaves it there until backfill comes by again.
        """
        mine = ANY in self.accounts or job.account in self.accounts
        if not mine or not self.partitions.intersection(job.partitions):
            return False
        estimate = job.start if job.start is not None and job.start > now else None
        return estimate > now + self.after_s if estimate is not None else job.submitted + self.after_s <= now
