"""BudgetRunner: ends the running jobs of an account whose budget stops, once what was spent reaches its limit.

Invariant: a job is ended by the common road (its outputs are kept, it pays for what it used), and the wish to end it
is in the database before anything is done, so a gateway that dies meanwhile ends it after its restart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.accounting.budget import Budget, stop_sentence
from gateway.errors import Conflict
from gateway.identity.audit import Act
from gateway.jobs.job import Job
from gateway.jobs.stages import OVER
from gateway.route import Ports, billing
from gateway.runner.periodic import Periodic
from gateway.work import Work

EVERY_S = 1.0


@dataclass(frozen=True)
class _Look:
    """A budget, what its settled jobs were charged, and its other jobs."""

    budget: Budget
    charged_ucr: int
    jobs: tuple[Job, ...]


@dataclass
class BudgetRunner:
    """One thread that looks at the budgets that stop."""

    ports: Ports
    wake_jobs: Callable[[], None]

    def __post_init__(self) -> None:
        self._thread = Periodic("budgets", "read the budgets", self.tick, EVERY_S)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._thread.stop()

    def tick(self) -> None:
        """Look once at every budget that stops and has jobs under way."""
        with self.ports.reads() as work:
            # One snapshot: a job that is settled while it is being metered is counted once, as it was.
            looks = [_look(work, budget) for budget in work.budgets.all() if budget.stops]
        for look in looks:
            if look.jobs:
                self._enforce(look)

    def _enforce(self, look: _Look) -> None:
        spent = look.charged_ucr + sum(self._accrued(job) for job in look.jobs)
        if spent < look.budget.limit_ucr:
            return
        why = stop_sentence(look.budget, spent)
        for job in look.jobs:
            if job.stage not in OVER and not job.cancel_requested:
                self._end(job, why)

    def _accrued(self, job: Job) -> int:
        """What a job would be charged if it ended now."""
        return min(job.hold_ucr, billing(job, self.ports, job.ended_at or self.ports.now()).charged_ucr)

    def _end(self, job: Job, why: str) -> None:
        try:
            with self.ports.works() as work:
                job = work.jobs.get(job.id)
                if job.stage in OVER:
                    return
                work.jobs.note(job, cancel_requested=True, stop_reason=why)
                work.jobs.tell(job.id, self.ports.now(), "budget", why)
                act = Act("gateway", "stop-job", f"job:{job.id}", why, job=job.id, authorisation=job.authorisation)
                work.audit.tell(act, self.ports.now())
        except Conflict:
            return  # it moved at this moment: the next look sees it
        self.wake_jobs()


def _look(work: Work, budget: Budget) -> _Look:
    jobs = tuple(work.jobs.get(name) for name in work.budgets.unsettled(budget))
    return _Look(budget, work.budgets.spending(budget).charged_ucr, jobs)
