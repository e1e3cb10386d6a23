"""SharingService: access rules about a job's outputs.

Invariant: whoever changes a rule owns that path at this moment, and somebody owns the whole afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway import wire
from gateway.errors import InvalidRequest, NotFound
from gateway.identity.access import (
    DENIED,
    NOTHING_SAID,
    AccessRule,
    Combination,
    Rights,
    Subject,
    clean_path,
    keep_an_owner,
)
from gateway.identity.authenticate import Caller, Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.identity.shares import Grant
from gateway.identity.throttle import NAMES, Throttle
from gateway.jobs.job import Job
from gateway.route import Ports
from gateway.service.acts import job_act
from gateway.service.jobs import JobService
from gateway.service.sight import Sight, sight_of
from gateway.work import Work


@dataclass(frozen=True)
class SharingService:
    """Who may do what with a job's outputs, as its owners say it."""

    ports: Ports
    jobs: JobService
    throttle: Throttle

    def rules(self, caller: Reader, name: str) -> list[wire.ShareView]:
        """The rules about a job's outputs. Raises NotFound, Refused."""
        seen = self.owned(caller, name, "")
        with self.ports.reads() as work:
            return [_view(seen.job, grant) for grant in work.shares.of_job(seen.job.id)]

    def given(self, caller: Reader) -> list[wire.ShareView]:
        """The rules by which others let the caller read something, newest first."""
        demand(authorise(caller, Action.LIST_SHARES))
        with self.ports.reads() as work:
            found = work.shares.given(caller.user.name, caller.user.group_names)
            jobs = {grant.job: work.jobs.get(grant.job) for grant in found}
            seen = {job.id: sight_of(work, caller, job) for job in jobs.values() if job.user != caller.user.name}
        return [_view(jobs[one.job], one) for one in found if one.job in seen and seen[one.job].reads(one.rule.path)]

    def grant(self, caller: Caller, name: str, request: wire.ShareRequest) -> wire.ShareView:
        """Set a rule; it replaces the one about the same path and subject.

        Raises NotFound for a job, user or group that there is not; Refused; Conflict when nobody would be an owner.
        """
        rule = _rule(request)
        seen = self.owned(caller, name, rule.path)
        self._demand_known(caller, rule.subject)
        said = Grant(seen.job.id, rule, caller.user.name, caller.evidence.digest, self.ports.now())
        with self.ports.works() as work:
            self._put(work, caller, seen.job, said, f"{_words(rule.rights)} for {rule.subject}: {place_of(rule.path)}")
        return _view(seen.job, said)

    def revoke(self, caller: Caller, name: str, path: str, subject: str) -> None:
        """Take a rule away; about who submitted the job, their own ownership. Raises as ``grant`` does."""
        place, whom = clean_path(path), Subject.read(subject)
        seen = self.owned(caller, name, place)
        with self.ports.works() as work:
            text = f"nothing more for {whom}: {place_of(place)}"
            if place == "" and whom == Subject("user", seen.job.user):
                # Without a rule of theirs they would own it, as who submitted a job does.
                rule = AccessRule(place, whom, DENIED)
                said = Grant(seen.job.id, rule, caller.user.name, caller.evidence.digest, self.ports.now())
                self._put(work, caller, seen.job, said, text)
                return
            work.shares.remove(seen.job.id, place, whom)
            self._keep(work, caller, seen.job, "unshare", text)

    def owned(self, caller: Reader, name: str, path: str) -> Sight:
        """The job, if the caller owns this path of its outputs. Raises NotFound, Refused."""
        seen = self.jobs.sight(caller, name, Action.SHARE_OUTPUTS)
        seen.demand(path, name, Action.SHARE_OUTPUTS)
        return seen

    def _demand_known(self, caller: Caller, subject: Subject) -> None:
        self.throttle.check(NAMES, caller.user.name)
        try:
            with self.ports.reads() as work:
                if subject.kind == "user":
                    work.users.get(subject.name)
                elif subject.kind == "group":
                    work.groups.get(subject.name)
        except NotFound:
            self.throttle.count(NAMES, caller.user.name)
            raise

    def _put(self, work: Work, caller: Caller, job: Job, said: Grant, text: str) -> None:
        work.shares.put(said)
        self._keep(work, caller, job, "share", text)

    def _keep(self, work: Work, caller: Caller, job: Job, action: str, text: str) -> None:
        keep_an_owner((grant.rule for grant in work.shares.of_job(job.id)), job.user)
        work.evidence.keep(caller.evidence)
        work.audit.tell(job_act(caller, job, action, text), self.ports.now())


def _rule(request: wire.ShareRequest) -> AccessRule:
    rights = Rights(request.owner, request.readable, request.writeable, request.executable)
    if rights == NOTHING_SAID:
        raise InvalidRequest("The rule says nothing.", hint="set readable, owner, writeable or executable")
    subject = Subject.read(request.subject)
    return AccessRule(clean_path(request.path), subject, rights, Combination(request.combination))


def _words(rights: Rights) -> str:
    said = {True: "", False: "not "}
    return ", ".join(f"{said[answer]}{right}" for right, answer in vars(rights).items() if answer is not None)


def place_of(path: str) -> str:
    """A path in a sentence."""
    return path or "all outputs"


def _view(job: Job, grant: Grant) -> wire.ShareView:
    rule = grant.rule
    return wire.ShareView(
        job=job.scheduler_id,
        burst_id=job.id,
        path=rule.path,
        subject=str(rule.subject),
        **vars(rule.rights),
        combination=rule.combination,
        by=grant.by,
        at=grant.at,
        authorisation=grant.authorisation,
    )
