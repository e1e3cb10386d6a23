"""Sight: what one reader may do with the outputs of one job, path by path.

Invariant: it is made anew for each request, of the rules and the memberships of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import NotFound
from gateway.identity.access import AccessRule, Rights, rights_of
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, Allowed, Refused, authorise, demand
from gateway.jobs.job import NO_TASK, Attempt, Job
from gateway.staging.manifest import Entry
from gateway.work import Work


@dataclass(frozen=True)
class Sight:
    """The policy's answers; ``rules`` are those about the job."""

    reader: Reader
    job: Job
    rules: tuple[AccessRule, ...]

    def rights(self, path: str) -> Rights:
        """What the rules give."""
        return rights_of(self.reader.user, self.rules, self.job.user, path)

    def verdict(self, path: str, action: Action = Action.FETCH_OUTPUTS) -> Allowed | Refused:
        """Whether the reader may do this with ``path``."""
        return authorise(self.reader, action, owner=self.job.user, rights=self.rights(path))

    def reads(self, path: str) -> bool:
        """Whether the reader may have this file."""
        return self.verdict(path) == Allowed()

    def demand(self, path: str, name: str, action: Action = Action.FETCH_OUTPUTS) -> None:
        """Raise unless the reader may do this with ``path`` of the job that they called ``name``.

        NotFound for who may read nothing of it, Refused for who may read something.
        """
        verdict = self.verdict(path, action)
        if isinstance(verdict, Refused) and not verdict.told and not self.reads_anything:
            raise concealed(name, verdict)
        demand(verdict)

    def demand_anything(self, name: str) -> None:
        """Raise NotFound for who may read nothing of it, Refused for a login without the scope."""
        if not self.reads_anything:
            self.demand("", name)

    @property
    def reads_anything(self) -> bool:
        """Whether there may be a file that the reader may have."""
        return any(map(self.reads, {"", *(rule.path for rule in self.rules)}))


def sight_of(work: Work, reader: Reader, job: Job) -> Sight:
    """What a reader may do with a job's outputs now."""
    return Sight(reader, job, tuple(grant.rule for grant in work.shares.of_job(job.id)))


def path_of(attempt: Attempt, entry: Entry) -> str:
    """What a file is called in rules and links; each task of an array has a folder."""
    return entry.path if attempt.task == NO_TASK else f"task-{attempt.task}/{entry.path}"


def concealed(name: str, verdict: Refused) -> NotFound:
    """A job that is there, and not for who asks."""
    return NotFound(f"There is no job {name}.", reason=verdict.reason, hint="`burst jobs` lists yours")
