"""SubmissionService: from a script to a funded job that Slurm has.

Invariant: everything that can refuse a job is asked before anything is created; what is created (evidence, hold, job)
is created in one transaction; only then is Slurm called.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from gateway import wire
from gateway.accounting import budget, cheque
from gateway.accounting.catalogue import STDOUT, Catalogue
from gateway.accounting.quote import Quote, quote_units
from gateway.accounting.units import format_credits
from gateway.errors import Conflict, InvalidRequest, SchedulerRefused, SchedulerUnavailable
from gateway.identity.authenticate import Caller
from gateway.identity.authorise import Action, authorise, demand, within
from gateway.identity.gateway_acts import gateway_act
from gateway.identity.idempotency import Answer
from gateway.intake.submit import read
from gateway.jobs.job import Job, JobRequest
from gateway.jobs.stages import Stage
from gateway.placement.place import Placement
from gateway.route import Hands, Ports, inputs_text, refuse, step
from gateway.service.acts import job_act
from gateway.service.placing import Placed, Placing, quote_of
from gateway.service.quotes import choices_of
from gateway.staging import stage_in
from gateway.work import Work

_BEFORE_SLURM = frozenset({Stage.FUNDED, Stage.STAGED_IN})


@dataclass(frozen=True)
class Limits:
    """Time limits of jobs, in seconds."""

    default_time_s: int
    max_time_s: int


@dataclass(frozen=True)
class _Decision:
    """A job that may run: nothing of it is stored yet."""

    request: JobRequest
    account: str
    placed: Placed
    quote: Quote

    @property
    def placement(self) -> Placement:
        """How many nodes of which offer."""
        return self.placed.placement


@dataclass(frozen=True)
class SubmissionService:
    """Quotes and submits."""

    ports: Ports
    placing: Placing
    catalogue: Catalogue
    limits: Limits
    hands: Hands
    wake_jobs: Callable[[], None]

    def quote(self, caller: Caller, request: wire.SubmitRequest) -> wire.Quote:
        """The most that a job would cost. Raises what ``submit`` raises, but for lack of funds."""
        decision = self._decide(caller, request)
        with self.ports.reads() as work:
            balance = work.ledger.balance(decision.account)
        return wire.Quote(
            offer=decision.quote.offer,
            lines=tuple(wire.QuoteLine(**vars(line)) for line in decision.quote.lines),
            total_ucr=decision.quote.total_ucr,
            balance_ucr=balance.available_ucr,
            account=decision.account,
            choices=choices_of(self.placing, decision.request, decision.placed),
        )

    def submit(self, caller: Caller, request: wire.SubmitRequest, key: str | None) -> Job:
        """A job that Slurm has.

        Raises InvalidRequest, NotAllowed, InsufficientFunds, SchedulerRefused; on SchedulerUnavailable the job is
        kept and handed over later, so the same key must be used to ask again.
        """
        demand(within(caller, Action.SUBMIT))
        if key is not None and (known := self._known(caller, key)) is not None:
            return self._again(known)
        decision = self._decide(caller, request)
        stage_in.check(self.ports.store, decision.request.burst.stage_in)
        job = self._job(caller, decision)
        self.hands.take(job.id)
        try:
            return self._accept(caller, job, decision, key)
        finally:
            self.hands.give_back(job.id)
            self.wake_jobs()

    def _accept(self, caller: Caller, job: Job, decision: _Decision, key: str | None) -> Job:
        try:
            with self.ports.works() as work:
                job = self._fund(work, caller, job, decision)
                if key is not None:
                    answer = Answer(201, {"job": job.id})
                    work.idempotency.keep(caller.user.name, key, caller.evidence.body, answer, self.ports.now())
        except Conflict:
            if key is not None and (known := self._known(caller, key)) is not None:
                return self._again(known)
            raise
        return self._hand_over(job, replace(self.ports, first_try=True))

    def _again(self, job: Job) -> Job:
        """What the first request was answered or, if it came to no answer, its work taken up where it ended."""
        if job.scheduler_id is not None:
            return job
        if not self.hands.take(job.id):
            raise SchedulerUnavailable("The job is being handed to Slurm already.", hint="ask again in a moment")
        try:
            with self.ports.reads() as work:
                job = work.jobs.get(job.id)  # nobody moves it any more
            job = self._hand_over(job, self.ports)
        finally:
            self.hands.give_back(job.id)
        if job.scheduler_id is None and not job.cancel_requested:
            raise SchedulerRefused(job.reason)
        return job

    def _hand_over(self, job: Job, ports: Ports) -> Job:
        try:
            while job.stage in _BEFORE_SLURM:
                job = step(job, ports)
        except (SchedulerRefused, InvalidRequest) as error:
            refuse(job, self.ports, error)
            raise
        except SchedulerUnavailable as error:
            hint = "the job is kept and goes to Slurm when it answers; ask again with the same Idempotency-Key"
            raise SchedulerUnavailable(error.detail, hint=hint) from error
        return job

    def _known(self, caller: Caller, key: str) -> Job | None:
        with self.ports.reads() as work:
            answer = work.idempotency.answered(caller.user.name, key, caller.evidence.body)
            return None if answer is None else work.jobs.get(answer.response["job"])

    def _decide(self, caller: Caller, request: wire.SubmitRequest) -> _Decision:
        demand(authorise(caller, Action.SUBMIT))
        if request.in_place and not self.ports.shared_filesystem:
            message = "The nodes do not see the files of the machine that it is submitted from."
            raise InvalidRequest(
                message, field="in_place", hint="submit without in_place; name inputs with #BURST lines"
            )
        parsed = read(request, default_time_limit_s=self.limits.default_time_s, max_time_limit_s=self.limits.max_time_s)
        account = parsed.burst.account_to or self._project(parsed) or caller.user.account
        demand(authorise(caller, Action.SPEND, account=account))
        placed = self.placing.place(parsed)
        parsed, priced = self._priced(replace(parsed, terms=placed.terms), placed)
        found = stage_in.keyed(caller.user.name, parsed.burst.stage_in)
        parsed = replace(parsed, burst=replace(parsed.burst, stage_in=found))
        cheque.check(priced.total_ucr, signed_ucr=caller.claims.max_spend_ucr, asked_ucr=parsed.burst.max_cost_ucr)
        return _Decision(parsed, account, placed, priced)

    def _project(self, parsed: JobRequest) -> str | None:
        """The project that sbatch's own --account names; a name that is none of ours is Slurm's matter."""
        named = parsed.options.get("account")
        if not named:
            return None
        with self.ports.reads() as work:
            return named if named in {group.account for group in work.groups.all()} else None

    def _priced(self, parsed: JobRequest, placed: Placed) -> tuple[JobRequest, Quote]:
        """The request, with its order of units filled in at today's price if it has one, and its quote."""
        placement = placed.placement
        asked, offer = parsed.burst.units, placement.offer.name
        if asked is None:
            return parsed, quote_of(parsed, placed)
        order = self.catalogue.fill(asked, parsed.resources, placement.nodes, parsed.options)
        kept = parsed.burst.stage_out
        if kept and order.file != STDOUT:
            kept = (*kept, order.file)  # what is metered is staged out, whatever else is
        burst = replace(parsed.burst, units=order, stage_out=kept)
        return replace(parsed, burst=burst), quote_units(parsed.resources, offer, order)

    def _job(self, caller: Caller, decision: _Decision) -> Job:
        return Job(
            id=uuid.uuid4().hex,
            scheduler_id=None,
            user=caller.user.name,
            account=decision.account,
            request=decision.request,
            offer=decision.placement.offer.name,
            stage=Stage.FUNDED,
            state="PENDING",
            reason="",
            hold_ucr=decision.quote.total_ucr,
            authorisation=caller.evidence.digest,
            submitted_at=self.ports.now(),
        )

    def _fund(self, work: Work, caller: Caller, job: Job, decision: _Decision) -> Job:
        """Evidence, hold and job; its inputs were looked for just before, so it is at STAGED_IN at once."""
        now = self.ports.now()
        work.evidence.keep(caller.evidence)
        if (limit := work.budgets.of(job.account)) is not None:
            budget.admit(limit, work.budgets.spending(limit), job.hold_ucr)
        work.ledger.hold(job.id, job.account, job.hold_ucr, job.authorisation, now)
        work.jobs.add(job)
        offer, nodes = decision.placement.offer, decision.placement.nodes
        time_limit = timedelta(seconds=job.request.resources.time_limit_s)
        for stage, text in (
            (Stage.SUBMITTED, f"{job.user} submitted {job.request.name}"),
            (Stage.AUTHORISED, f"signed by session {caller.session.id}, paid by account {job.account}"),
            (Stage.QUOTED, _quoted(job, f"{nodes} of {offer.name} for at most {time_limit}")),
            (Stage.FUNDED, f"{format_credits(job.hold_ucr)} held"),
        ):
            work.jobs.tell(job.id, now, stage, text)
        priced = f"{job.request.name}, {_quoted(job, f'{nodes} of {offer.name} for at most {time_limit}')}"
        work.audit.tell(job_act(caller, job, "submit", priced, amount_ucr=job.hold_ucr), now)
        work.audit.tell(gateway_act(job, "hold", f"account:{job.account}", "held", amount_ucr=job.hold_ucr), now)
        return work.jobs.move(job, Stage.STAGED_IN, now, inputs_text(job))


def _quoted(job: Job, machines: str) -> str:
    """What the timeline says of the price: of units if it ordered some, of machines otherwise."""
    order, most = job.request.burst.units, format_credits(job.hold_ucr)
    return f"{machines}: {most}" if order is None else f"{order.quantity} {order.code} at most: {most}; on {machines}"
