"""From what a job used to its bill and its signed receipt.

Invariant: a bill is a pure function of the attempts and the tariff, is never above the hold, and its lines sum to the
charge; a receipt's signature covers every figure in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from gateway.accounting.receipt_form import RECEIPT_TYPE, canonical
from gateway.accounting.tariff import Line, Tariff, data_line
from gateway.accounting.units import format_credits
from gateway.errors import BadSignature
from gateway.jobs.job import NO_TASK, Attempt, Job
from gateway.jobs.terms import Rates


@dataclass(frozen=True)
class Bill:
    """What a job is charged."""

    lines: tuple[Line, ...]

    @property
    def charged_ucr(self) -> int:
        """The sum of its lines."""
        return sum(line.amount_ucr for line in self.lines)


@dataclass(frozen=True)
class Receipt:
    """What a job used and paid. ``job`` is the gateway's own id, ``signature`` a compact JWS over ``document()``."""

    number: str
    job: str
    account: str
    offer: str
    lines: tuple[Line, ...]
    held_ucr: int
    charged_ucr: int
    refunded_ucr: int
    settled_at: datetime
    authorisation: str
    signature: str = ""

    def document(self) -> dict[str, Any]:
        """All but the signature, as JSON has it."""
        facts = asdict(self) | {"settled_at": self.settled_at.astimezone(UTC).isoformat()}
        del facts["signature"]
        return {**facts, "lines": [asdict(line) for line in self.lines]}

    @classmethod
    def read(cls, document: Mapping[str, Any], signature: str) -> Receipt:
        """The receipt that ``document()`` gave."""
        facts = dict(document)
        lines = tuple(Line(**line) for line in facts.pop("lines"))
        settled_at = datetime.fromisoformat(facts.pop("settled_at"))
        return cls(**facts, lines=lines, settled_at=settled_at, signature=signature)


class Receipts(Protocol):
    """The stored receipts, inside one transaction of the database."""

    def next_number(self) -> str:
        """The number after the last receipt's; it is taken only by ``keep``."""

    def keep(self, receipt: Receipt) -> None:
        """Keep a signed receipt. Raises Conflict when the job has one."""

    def of(self, job: str) -> Receipt:
        """A job's receipt. Raises NotFound."""


class Signer(Protocol):
    """What signs for the gateway: its key ring."""

    def sign(self, payload: bytes, typ: str, now: datetime) -> str:
        """A compact JWS over ``payload``."""


def bill(
    job: Job,
    attempts: Iterable[Attempt],
    tariff: Tariff,
    now: datetime,
    left: Callable[[Attempt], int] = lambda _: 0,
) -> Bill:
    """A line for each attempt that ran, by the second, at most the job's hold. Raises PriceUnknown.

    An attempt without an end is counted until ``now``; one that never started costs nothing. Prices are those that the
    job was quoted; ``left`` is how many bytes an attempt left, which is asked only where data costs something.
    """
    terms = job.request.terms
    if terms.node_ucr_per_hour:
        tariff = Tariff({job.offer: terms.node_ucr_per_hour})
    ran = [(attempt, seconds) for attempt in attempts if (seconds := _seconds(attempt, now))]
    lines = [tariff.line(job.offer, _what(attempt, seconds), len(attempt.nodes) * seconds) for attempt, seconds in ran]
    if terms.rates != Rates():
        inputs = sum(each.size for each in job.request.burst.stage_in)
        moved = (_data(attempt, terms.rates, inputs, left(attempt)) for attempt, _ in ran)
        lines += [line for line in moved if line is not None]
    over = sum(line.amount_ucr for line in lines) - job.hold_ucr
    if over > 0:
        lines.append(Line(f"not charged: above the hold of {format_credits(job.hold_ucr)}", 1, "hold", -over))
    return Bill(tuple(lines))


def issue(job: Job, billed: Bill, number: str, signer: Signer, now: datetime) -> Receipt:
    """The signed receipt of a job that was charged ``billed``."""
    receipt = Receipt(
        number=number,
        job=job.id,
        account=job.account,
        offer=job.offer,
        lines=billed.lines,
        held_ucr=job.hold_ucr,
        charged_ucr=billed.charged_ucr,
        refunded_ucr=job.hold_ucr - billed.charged_ucr,
        settled_at=now,
        authorisation=job.authorisation,
    )
    document = receipt.document()
    return Receipt.read(document, signer.sign(canonical(document), RECEIPT_TYPE, now))


def verify_receipt(receipt: Receipt, verify: Callable[[str, str], bytes]) -> None:
    """Raise BadSignature unless the gateway signed exactly this; ``verify(token, typ)`` is the key ring's."""
    if verify(receipt.signature, RECEIPT_TYPE) != canonical(receipt.document()):
        raise BadSignature("The receipt's signature is for another receipt.", hint="fetch it again: burst receipt")


def _seconds(attempt: Attempt, now: datetime) -> int:
    if attempt.started_at is None:
        return 0
    # Slurm cuts its times to whole seconds, so a short run may seem to end before it began; it still was a run.
    return max(1, math.ceil(((attempt.ended_at or now) - attempt.started_at).total_seconds()))


def _data(attempt: Attempt, rates: Rates, input_bytes: int, left_bytes: int) -> Line | None:
    return data_line(rates, input_bytes * len(attempt.nodes), left_bytes, who=_who(attempt))


def _what(attempt: Attempt, seconds: int) -> str:
    nodes = f"{len(attempt.nodes)} node{'' if len(attempt.nodes) == 1 else 's'}"
    return f"{_who(attempt)}{nodes} for {seconds} s"


def _who(attempt: Attempt) -> str:
    task = "" if attempt.task == NO_TASK else f"task {attempt.task}, "
    return f"{task}run {attempt.number + 1}, " if attempt.number else task
