"""ArrivalService: a job that came by a site's own sbatch becomes one of the gateway's: owner, price, hold, evidence.

Invariant: as for a submitted job, everything that can refuse it is asked before anything is created, and all of it is
created in one transaction; only then is slurmctld told that it may start.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from gateway.accounting import cheque
from gateway.accounting.quote import Quote, quote
from gateway.accounting.units import format_credits
from gateway.engines.site_jobs import SiteJob, SiteJobs
from gateway.engines.site_people import SitePeople
from gateway.errors import InvalidRequest, NotFound, Refused
from gateway.identity.authenticate import Vouched
from gateway.identity.authorise import Action, authorise, demand
from gateway.identity.evidence import Evidence
from gateway.identity.gateway_acts import gateway_act
from gateway.identity.site_key import SiteKey
from gateway.identity.users import User
from gateway.intake import burst
from gateway.intake import script as script_lines
from gateway.jobs.job import BurstOptions, Job, JobRequest
from gateway.jobs.stages import Stage
from gateway.placement.offers import Offer
from gateway.placement.place import Placement, place
from gateway.route import Hands, Ports, step
from gateway.service.site_claims import SiteClaims
from gateway.service.submission import Limits
from gateway.work import Work

NOT_PAID = "it started before it was paid for"
"""Of a job that began on one of our nodes though nobody pays for it: somebody went past the hold."""

_UNSETTLED = (Stage.FUNDED, Stage.STAGED_IN, Stage.QUEUED, Stage.RAN, Stage.STAGED_OUT)


@dataclass(frozen=True)
class _Decision:
    """A job that may start: nothing of it is stored yet."""

    found: SiteJob
    request: JobRequest
    placement: Placement
    quote: Quote


@dataclass(frozen=True)
class ArrivalService:
    """Takes in the jobs of one site. ``people``: who of the site's users is who at the gateway."""

    ports: Ports
    site: SiteJobs
    key: SiteKey
    people: SitePeople
    claims: SiteClaims
    offers: tuple[Offer, ...]
    limits: Limits
    hands: Hands
    wake_jobs: Callable[[], None]

    def welcome(self, found: SiteJob, most_ucr: int | None = None) -> Job | None:
        """Fund a job that waits and let it start; one that was funded before is only told so.

        ``most_ucr``: what it may cost at most, beside what its owner says. None for one that was no job but its owner's
        word on who they are, which is ended. Raises what refuses it, as a sentence for
        its owner, or SchedulerUnavailable.
        """
        if (known := self._known(found)) is None and self._is_claim(found):
            return None
        job = known or self._take_in(found, most_ucr)
        if not self.hands.take(job.id):
            return job  # the job runner has it in hand
        try:
            return step(job, self.ports) if job.stage is Stage.STAGED_IN else job
        finally:
            self.hands.give_back(job.id)
            self.wake_jobs()

    def in_cloud(self) -> int:
        """How many jobs of the gateway are funded and not yet settled."""
        with self.ports.reads() as work:
            return len(work.jobs.at(_UNSETTLED))

    def _is_claim(self, found: SiteJob) -> bool:
        """Whether it only links its owner to a user of the gateway, and that is done."""
        if not self.site.is_cloud_only(found) or (code := self.claims.code_in(self._script(found.id))) is None:
            return False
        link = self.claims.finish(code, found.user, self.ports.now())
        self.site.tell(found.id, f"{link.unix} is {link.user} at the gateway now")
        self.site.give_up(found.id)
        return True

    def _known(self, found: SiteJob) -> Job | None:
        """The job that was taken in for it before the gateway could tell slurmctld."""
        with self.ports.reads() as work:
            mine = [job.id for job in work.jobs.at({Stage.STAGED_IN}) if job.scheduler_id == found.id]
            return work.jobs.get(mine[0]) if mine else None

    def _take_in(self, found: SiteJob, most_ucr: int | None) -> Job:
        decision = self._decide(found, most_ucr)
        with self.ports.works() as work:
            owner = self._owner(work, found.user)
            account = decision.request.burst.account_to or owner.account
            demand(authorise(Vouched(owner), Action.SUBMIT))
            demand(authorise(Vouched(owner), Action.SPEND, account=account))
            evidence = self._evidence(decision)
            return self._fund(work, self._job(decision, owner, account, evidence), decision, evidence)

    def _decide(self, found: SiteJob, most_ucr: int | None) -> _Decision:
        request = self._request(found, self._script(found.id))
        placement = place(request.resources, self.offers)
        priced = quote(request.resources, placement.offer.name, placement.nodes, self.ports.tariff)
        cheque.check(priced.total_ucr, asked_ucr=request.burst.max_cost_ucr)
        if most_ucr is not None and priced.total_ucr > most_ucr:
            most, price = format_credits(most_ucr), format_credits(priced.total_ucr)
            raise Refused(
                f"it could cost {price} in the cloud, and the site pays for {most}", hint="shorten its --time"
            )
        return _Decision(found, request, placement, priced)

    def _script(self, job_id: int) -> str:
        try:
            return self.site.script(job_id)
        except NotFound:
            return ""

    def _request(self, found: SiteJob, script: str) -> JobRequest:
        asked = _asked(script)
        if found.het:
            raise InvalidRequest("heterogeneous jobs are not supported", hint="submit its components as jobs")
        if found.resources.time_limit_s > self.limits.max_time_s:
            raise InvalidRequest(
                "its time limit is too long", hint=f"the longest is {self.limits.max_time_s // 60} min"
            )
        return JobRequest(
            name=found.name,
            script=script,
            arguments=(),
            options={},
            resources=found.resources,
            burst=BurstOptions(stage_out=asked.stage_out, account_to=asked.account_to, max_cost_ucr=asked.max_cost_ucr),
            submit_directory=found.directory,
            site_directory=found.directory,
        )

    def _owner(self, work: Work, unix_name: str) -> User:
        name = self.people.user_of(unix_name)
        if name is None:
            hint = f"link it with burst site claim, or ask an administrator: burst site people link {unix_name} USER"
            raise Refused(f"{unix_name} is linked to no user of the gateway", hint=hint)
        try:
            return work.users.get(name)
        except NotFound as error:
            hint = f"ask its administrator for one: burst site user {name}"
            raise Refused(f"{unix_name} has no account at the gateway", hint=hint) from error

    def _evidence(self, decision: _Decision) -> Evidence:
        found = decision.found
        facts = {
            "uid": found.uid,
            "user": found.user,
            "owner": self.people.user_of(found.user),
            "partition": found.partition,
            "name": found.name,
            "directory": found.directory,
            "resources": vars(found.resources),
            "script_sha256": hashlib.sha256(decision.request.script.encode()).hexdigest(),
        }
        return self.key.vouch(found.id, facts, decision.quote.total_ucr, self.ports.now())

    def _job(self, decision: _Decision, owner: User, account: str, evidence: Evidence) -> Job:
        return Job(
            id=uuid.uuid4().hex,
            scheduler_id=decision.found.id,
            user=owner.name,
            account=account,
            request=decision.request,
            offer=decision.placement.offer.name,
            stage=Stage.FUNDED,
            state="PENDING",
            reason="",
            hold_ucr=decision.quote.total_ucr,
            authorisation=evidence.digest,
            submitted_at=self.ports.now(),
        )

    def _fund(self, work: Work, job: Job, decision: _Decision, evidence: Evidence) -> Job:
        found, nodes, now = decision.found, decision.placement.nodes, self.ports.now()
        work.evidence.keep(evidence)
        work.ledger.hold(job.id, job.account, job.hold_ucr, job.authorisation, now)
        work.jobs.add(job)
        limit = timedelta(seconds=job.request.resources.time_limit_s)
        for stage, text in (
            (Stage.SUBMITTED, f"{found.user} (uid {found.uid}) submitted {found.name} with the site's own sbatch"),
            (Stage.AUTHORISED, f"vouched for by {evidence.kid}, paid by account {job.account}"),
            (Stage.QUOTED, f"{nodes} of {job.offer} for at most {limit}: {format_credits(job.hold_ucr)}"),
            (Stage.FUNDED, f"{format_credits(job.hold_ucr)} held"),
        ):
            work.jobs.tell(job.id, now, stage, text)
        came = f"{found.name}, with the site's own sbatch, vouched for by {evidence.kid}"
        told = gateway_act(job, "submit", f"job:{job.id}", came, amount_ucr=job.hold_ucr)
        work.audit.tell(replace(told, actor=job.user), now)
        work.audit.tell(gateway_act(job, "hold", f"account:{job.account}", "held", amount_ucr=job.hold_ucr), now)
        return work.jobs.move(job, Stage.STAGED_IN, now, "its files are in the site's own directory")


def _asked(script: str) -> burst.Requests:
    """What the ``#BURST`` lines of a script ask for; sbatch itself has read the others."""
    lines = [line for line in script_lines.directives(script) if line.magic == script_lines.BURST]
    asked = burst.read(lines)
    if asked.stage_in:
        hint = f"take out line {asked.stage_in[0].line}: the job sees the site's own files"
        raise InvalidRequest("#BURST --stage-in has no meaning for a job of the site's own sbatch", hint=hint)
    return asked
