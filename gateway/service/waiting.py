"""Why a job waits: a sentence for its owner, what they can do, and what it waits for by name.

Invariant: it is made of what Slurm, the route and the nodes say now; a job that waits for nothing has no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.errors import NotFound
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, Allowed, authorise
from gateway.jobs.job import Job
from gateway.jobs.stages import FINAL, Stage
from gateway.route import Ports
from gateway.slurm.dependencies import named
from gateway.work import Work


@dataclass(frozen=True)
class Awaited:
    """Another job that it waits for."""

    id: int
    name: str
    state: str
    reason: str
    """Why that one waits, in its turn."""


@dataclass(frozen=True)
class Waiting:
    """Why; ``act`` says whether its owner can do something about it; ``since`` is when this reason began."""

    sentence: str
    act: bool
    since: datetime
    jobs: tuple[Awaited, ...] = ()


_AT_STAGE: Final = {
    Stage.FUNDED: "Its inputs are being checked in the store. Nothing need be done.",
    Stage.STAGED_IN: "It is being handed to Slurm. Nothing need be done.",
    Stage.RAN: "It has run; its outputs are on their way to the store. Nothing need be done.",
    Stage.STAGED_OUT: "Its outputs are in the store; its receipt is being written. Nothing need be done.",
}
_NOTHING: Final = "Nothing need be done."


@dataclass(frozen=True)
class WaitingService:
    """Looks at a job and at what it waits for."""

    ports: Ports

    def why(self, caller: Reader, job: Job) -> Waiting | None:
        """What ``job`` waits for; None while it runs and when it is over."""
        if job.stage in FINAL or job.state == "RUNNING" or not (sentence := _sentence(job)):
            return None
        with self.ports.reads() as work:
            since = max((event.at for event in work.jobs.timeline(job.id)), default=job.submitted_at)
            dependency = job.request.options.get("dependency", "") if job.stage is Stage.QUEUED else ""
            awaited = tuple(_awaited(work, caller, number) for number in named(dependency))
        waits_for = tuple(other for other in awaited if other is not None)
        needs = [sentence, *(other.reason for other in waits_for if other.reason)]
        return Waiting(sentence, any(_NOTHING not in need for need in needs), since, waits_for)


def _sentence(job: Job) -> str:
    if job.cancel_requested:
        return f"It is being cancelled. {_NOTHING}"
    if job.stage is not Stage.QUEUED:
        return _capital(job.reason) or _AT_STAGE.get(job.stage, "")
    if not job.reason and job.state == "PENDING":
        return f"Slurm has it and has not looked at it yet. {_NOTHING}"
    return _capital(job.reason).replace("`scontrol release`", f"`scontrol release {job.scheduler_id}`")


def _capital(reason: str) -> str:
    """The route's own reasons are half sentences, for a line of the timeline."""
    if not reason or reason.endswith("."):
        return reason
    return f"{reason[0].upper()}{reason[1:]}. {_NOTHING}"


def _awaited(work: Work, caller: Reader, number: int) -> Awaited | None:
    try:
        job = work.jobs.by_scheduler_id(number)
    except NotFound:
        return None
    if not isinstance(authorise(caller, Action.SEE_JOB, owner=job.user), Allowed):
        return None
    over = job.stage in FINAL or job.state == "RUNNING"
    return Awaited(number, job.request.name, job.state, "" if over else _sentence(job))
