"""TokenService: a job narrows its own credential, and those who may look at credentials or end them do.

Invariant: nothing is said of a credential that is dead or not the asker's; what ends one ends all that came from it,
and the keys to the store that they were traded for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.errors import InvalidGrant, NotAllowed, TokenError
from gateway.identity.audit import Act, Outcome
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, Allowed, authorise
from gateway.identity.credentials import Credentials, JobGrant
from gateway.identity.delegation import Wish, narrow
from gateway.identity.revocations import Revocation
from gateway.jobs.job import Job
from gateway.service.job_life import alive
from gateway.service.jobs import JobService
from gateway.service.nodes import CREDENTIAL_GRACE
from gateway.work import Work, Works

Asker = Caller | JobGrant
"""A user who signed, or a job by its credential."""


@dataclass(frozen=True)
class Issued:
    """A child's credential and what it allows."""

    token: str
    grant: JobGrant
    seconds: int


@dataclass(frozen=True)
class TokenService:
    """The authorisation server's side of job credentials."""

    works: Works
    reads: Works
    credentials: Credentials
    jobs: JobService
    now: Callable[[], datetime]

    def exchange(self, token: str, wish: Wish) -> Issued:
        """A narrower credential for ``token``'s. Raises TokenError, whose code is the RFC's."""
        now = self.now()
        with self.works() as work:
            # RFC 8693 section 2.2.2: a subject token that is not good for whatever reason is an invalid_request.
            if (parent := self._living(work, token)) is None:
                raise TokenError("The subject token is not a living credential of a job.")
            try:
                child = narrow(parent, wish, (self.credentials.audience, self.credentials.issuer), now)
            except TokenError as error:
                work.audit.tell(_told(parent, "token.exchange", error.detail, Outcome.REFUSED), now)
                refused: TokenError = error
            else:
                text = (
                    f"narrowed {parent.jti} to {child.jti}: {' '.join(child.scopes)}, until {child.expires_at:%FT%TZ}"
                )
                work.audit.tell(_told(parent, "token.exchange", text), now)
                token = self.credentials.mint_child(child, now)
                return Issued(token, child, int((child.expires_at - now).total_seconds()))
        raise refused

    def introspect(self, asker: Asker, token: str) -> dict[str, Any]:
        """RFC 7662 section 2.2: what a living credential says, to whom it concerns; else that it is not active."""
        with self.reads() as work:
            grant = self._living(work, token)
            if grant is None or not _concerns(work, asker, grant, Action.SEE_JOB):
                return {"active": False}
        return {
            "active": True,
            "token_type": "Bearer",
            "scope": " ".join(grant.scopes),
            "sub": grant.user,
            "username": grant.user,
            "aud": self.credentials.audience,
            "iss": self.credentials.issuer,
            "iat": int(grant.issued_at.timestamp()),
            "nbf": int(grant.issued_at.timestamp()),
            "exp": int(grant.expires_at.timestamp()),
            "jti": grant.jti,
            "burst_job": grant.job,
            "burst_attempt": grant.attempt,
            "burst_node": grant.node,
        }

    def revoke(self, asker: Asker, token: str) -> None:
        """RFC 7009: end a credential and all that came from it; one that is dead is no error. Raises InvalidGrant."""
        with self.works() as work:
            if (grant := self._living(work, token)) is None:
                return
            if _concerns(work, asker, grant, Action.REVOKE_CREDENTIAL):
                self._end(work, asker, grant)
                return
            text = f"asked for the end of {grant.jti}"
            work.audit.tell(_act(asker, "token.revoke", grant.job, text, Outcome.REFUSED), self.now())
        raise InvalidGrant(hint="a job may end its own token and those narrowed from it")

    def revoke_job(self, caller: Caller, name: str) -> Job:
        """End every credential that a job has been given. Raises NotFound, Refused."""
        job = self.jobs.find(caller, name, Action.REVOKE_CREDENTIAL)
        now = self.now()
        until = now + timedelta(seconds=job.request.resources.time_limit_s) + CREDENTIAL_GRACE
        with self.works() as work:
            work.evidence.keep(caller.evidence)
            work.revocations.add(Revocation(job.id, "", caller.user.name, now, until))
            for record in work.key_records.of(job.id):
                work.key_records.end(record.job, record.label, now)
            work.jobs.tell(job.id, now, "credential", f"{caller.user.name} revoked its credentials")
            work.audit.tell(_act(caller, "token.revoke", job.id, "every credential of the job so far"), now)
        return job

    def _end(self, work: Work, asker: Asker, grant: JobGrant) -> None:
        now = self.now()
        if isinstance(asker, Caller):
            work.evidence.keep(asker.evidence)
        work.revocations.add(Revocation(grant.job, grant.jti, _name(asker), now, grant.expires_at))
        for record in work.key_records.of(grant.job):
            if record.of_credential(grant.jti, grant.attempt, narrowed=bool(grant.chain)):
                work.key_records.end(record.job, record.label, now)
        work.jobs.tell(grant.job, now, "credential", f"{_name(asker)} revoked {grant.jti}")
        work.audit.tell(_act(asker, "token.revoke", grant.job, f"{grant.jti} and what came from it"), now)

    def _living(self, work: Work, token: str) -> JobGrant | None:
        try:
            return self.credentials.verify(token, self.now(), lambda grant: not alive(work, grant))
        except NotAllowed:
            return None


def _concerns(work: Work, asker: Asker, grant: JobGrant, action: Action) -> bool:
    """A job: its own token and those that came from it. A user: as the policy has it of the job's owner."""
    if isinstance(asker, JobGrant):
        return asker.job == grant.job and asker.jti in {grant.jti, *grant.chain}
    return isinstance(authorise(asker, action, owner=work.jobs.get(grant.job).user), Allowed)


def _name(asker: Asker) -> str:
    return asker.user.name if isinstance(asker, Caller) else f"job:{asker.job}"


def _told(grant: JobGrant, action: str, text: str, outcome: Outcome = Outcome.DONE) -> Act:
    return Act(f"job:{grant.job}", action, f"job:{grant.job}", text, outcome, job=grant.job)


def _act(asker: Asker, action: str, job: str, text: str, outcome: Outcome = Outcome.DONE) -> Act:
    evidence = asker.evidence.digest if isinstance(asker, Caller) else None
    if outcome is not Outcome.DONE:
        evidence = None  # its evidence is not kept: it authorised nothing
    return Act(_name(asker), action, f"job:{job}", text, outcome, authorisation=evidence, job=job)
