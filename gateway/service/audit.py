"""AuditService: what the log says, to whom it concerns, and whether it agrees with itself.

Invariant: a user reads what concerns them; refusals of signed requests are told to the log by the door through here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from gateway import wire
from gateway.errors import BurstError, InvalidRequest, NotFound
from gateway.identity.audit import Concerns, Outcome, Question, Record
from gateway.identity.authenticate import Caller, Reader
from gateway.identity.authorise import Action, authorise, demand, whose
from gateway.service.acts import act_of
from gateway.service.jobs import JobService
from gateway.work import Works


@dataclass(frozen=True)
class AuditService:
    """The audit log, as the doors need it."""

    works: Works
    reads: Works
    jobs: JobService
    now: Callable[[], datetime]

    def page(self, caller: Reader, question: Question) -> wire.AuditPage:
        """The records that answer and concern the caller, newest first; an admin gets all. Raises NotFound."""
        everything = whose(caller.user) is None
        demand(authorise(caller, Action.READ_WHOLE_AUDIT if everything else Action.READ_AUDIT))
        if any(moment is not None and moment.tzinfo is None for moment in (question.since, question.until)):
            raise InvalidRequest("A time has no time zone.", hint="2026-03-01T00:00:00Z")
        if question.job is not None:
            seen = self.jobs.sight(caller, question.job)
            seen.demand_anything(question.job)
            question = replace(question, job=seen.job.id)
        if not everything:
            user = caller.user
            question = replace(question, concerns=Concerns(user.name, user.accounts, user.group_names))
        with self.reads() as work:
            found = work.audit.find(question)
        more = found[-1].seq if len(found) == question.limit else None
        return wire.AuditPage(records=tuple(map(_view, found)), next=more)

    def verify(self, caller: Reader, known: str | None) -> wire.AuditChain:
        """Follow the log's chain and the ledger's. Raises Refused, AuditBroken, LedgerBroken."""
        demand(authorise(caller, Action.READ_WHOLE_AUDIT))
        return verify(self.reads, known)

    def refused(self, caller: Caller, error: BurstError, address: str) -> None:
        """Tell of a signed request that the policy refused: who asked for what, and why not."""
        reason = (error.reason if isinstance(error, NotFound) else None) or error.detail
        evidence = caller.evidence
        # The request is evidence of the try, whatever it asked for.
        act = act_of(caller, "request", f"path:{evidence.path[:200]}", f"{evidence.method}: {reason}")
        with self.works() as work:
            work.evidence.keep(evidence)
            work.audit.tell(replace(act, outcome=Outcome.REFUSED, address=address), self.now())


def verify(reads: Works, known: str | None) -> wire.AuditChain:
    """The two chains of a database, in one snapshot. Raises AuditBroken, LedgerBroken."""
    with reads() as work:
        log, ledger = work.audit.verify_chain(known), work.ledger.verify_chain()
    return wire.AuditChain(records=log.records, head=log.head, ledger_entries=ledger.entries, ledger_head=ledger.head)


def _view(record: Record) -> wire.AuditRecord:
    facts = vars(record.act) | {"outcome": record.act.outcome.value}
    return wire.AuditRecord(seq=record.seq, at=record.at, hash=record.hash, **facts)
