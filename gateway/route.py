"""The route of a job, stage by stage: what is done at each, and through which port.

    FUNDED ─ inputs ─► STAGED_IN ─ queue ─► QUEUED ─ follow ─► RAN ─ stage out ─► STAGED_OUT ─ settle ─► SETTLED

Before FUNDED a job is only a decision (``gateway.service.submission``): nothing is held, so nothing is left behind
when it is refused. From FUNDED on, ``step`` moves it, from the submitting request or from a runner alike.

Invariant: a performer acts outside any transaction and may be repeated; ``step`` records its outcome only from the
stage that it was decided on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from gateway.accounting.catalogue import STDOUT, MeterKind
from gateway.accounting.meter import Delivery, bill_units, read
from gateway.accounting.settle import Bill, Receipt, bill, issue
from gateway.accounting.tariff import Tariff
from gateway.accounting.units import format_credits
from gateway.engines.engine import Engine, SchedulerJob
from gateway.engines.run import Place, Standing, attempts_of, hand_over, standing, submission_of, superseded
from gateway.engines.site_jobs import SiteJobs
from gateway.errors import ChecksumMismatch, InvalidRequest, NotFound, SchedulerRefused
from gateway.identity.gateway_acts import refusal_act, settle_act
from gateway.identity.key_ring import KeyRing
from gateway.identity.sealing import Sealer
from gateway.jobs.job import Attempt, Job, UnitOrder
from gateway.jobs.stages import Stage
from gateway.jobs.store import Part
from gateway.provisioning.fleet import Fleet
from gateway.provisioning.lifecycle import USABLE, NodeState
from gateway.slurm.hostlists import fold
from gateway.slurm.states import reason_sentence
from gateway.staging import stage_in, stage_out, verified
from gateway.staging.job_keys import KeyIssuer, KeyRecord
from gateway.staging.manifest import Entry
from gateway.staging.object_store import ObjectStore
from gateway.work import Work, Works


@dataclass(frozen=True)
class Ports:
    """What a performer may use."""

    works: Works
    reads: Works
    """As ``works``, but for looking only: what it writes is lost, and it waits for no writer."""
    engine: Engine
    store: ObjectStore
    tariff: Tariff
    ring: KeyRing
    sealer: Sealer
    place: Place
    environment: Mapping[str, str]
    """Given to every job, besides what is its own."""
    shared_filesystem: bool
    now: Callable[[], datetime]
    site: SiteJobs | None = None
    """Of a site's own cluster: the jobs that its own sbatch put there."""
    first_try: bool = False
    """Nobody can have handed the job to Slurm before: it is the submitting request that performs."""
    job_keys: KeyIssuer | None = None
    """What gives running jobs keys of their own to the store; None where the store cannot."""


@dataclass(frozen=True)
class Done:
    """The stage is done: what to tell, which facts to record with the move."""

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    stage: Stage | None = None
    """Where the job goes instead of the next stage of the route."""


@dataclass(frozen=True)
class Wait:
    """Not yet: why, as a sentence, and what is known meanwhile."""

    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)


Outcome = Done | Wait

_CAN_BE_CANCELLED = frozenset({"PENDING", "RUNNING", "SUSPENDED"})

_REMEMBERED_FOR = timedelta(seconds=300)
"""Slurm never forgets an ended job sooner (MinJobAge's default): a younger job that it does not know never ended."""

OUTPUTS_WITHIN = timedelta(minutes=30)
"""How long a node may take to stage out once its job has ended."""


class Hands:
    """Which jobs or nodes are being worked on in this process, so that two workers never hold the same one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[str] = set()

    def take(self, name: str) -> bool:
        """Take it, unless somebody has it."""
        with self._lock:
            free = name not in self._taken
            self._taken.add(name)
            return free

    def give_back(self, name: str) -> None:
        """Let others take it."""
        with self._lock:
            self._taken.discard(name)


def step(job: Job, ports: Ports) -> Job:
    """Perform a job's stage once and record the outcome. Raises Conflict when another worker was first."""
    _, perform, following = ROUTE[job.stage]
    outcome = perform(job, ports)
    if isinstance(outcome, Wait) and replace(job, reason=outcome.reason, **outcome.facts) == job:
        return job  # nothing new: a thousand waiting jobs are not to queue for the database
    with ports.works() as work:
        if isinstance(outcome, Done):
            return work.jobs.move(job, outcome.stage or following, ports.now(), outcome.text, **outcome.facts)
        if outcome.reason and outcome.reason != job.reason:
            work.jobs.tell(job.id, ports.now(), "waiting", outcome.reason)
        return work.jobs.note(job, reason=outcome.reason, **outcome.facts)


def inputs(job: Job, ports: Ports) -> Outcome:
    """Every input is in the store with its size."""
    if job.cancel_requested:
        return _never_ran("cancelled before Slurm had it")
    stage_in.check(ports.store, job.request.burst.stage_in)
    return Done(inputs_text(job))


def inputs_text(job: Job) -> str:
    """What the timeline says of a job's inputs once they are there."""
    count = len(job.request.burst.stage_in)
    return f"{count} input{'s are' if count > 1 else ' is'} in the store" if count else "no inputs to stage in"


def queue(job: Job, ports: Ports) -> Done:
    """Slurm has the job; a try whose reply was lost is looked up first, also for a job that was cancelled since."""
    if job.request.site_directory:
        return _release(job, ports)
    if job.cancel_requested:
        known = ports.engine.find(job.id)
        return _never_ran("cancelled before Slurm had it") if known is None else _queued(known)
    home = f"{ports.place.directory}/{job.id}"
    own = {
        "BURST_JOB_ID": job.id,
        "BURST_OUTPUT": f"{home}/work",
        "BEARER_TOKEN_FILE": f"{home}/token",
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{home}/token",
        "HOME": f"{home}/home",
        "TMPDIR": f"{home}/tmp",  # noqa: S108 - the job's own
        **({"BURST_STORE": f"{home}/store.json"} if ports.job_keys else {}),
    }
    submission = submission_of(job, ports.place, {**ports.environment, **own})
    scheduler_id = hand_over(ports.engine, submission, retry=not ports.first_try)
    return _queued(scheduler_id)


def follow(job: Job, ports: Ports) -> Outcome:
    """Slurm is done with every task."""
    assert job.scheduler_id is not None  # noqa: S101 - QUEUED jobs have one
    if not (tasks := _tasks(job.id, job.scheduler_id, ports)):
        return _forgotten(job, ports)
    tasks = tuple(_away(task, ports) for task in tasks)
    stands = standing(tasks)
    if job.cancel_requested and any(task.state in _CAN_BE_CANCELLED for task in stands.tasks):
        # Slurm was away when it was cancelled, or got the job at the same moment.
        ports.engine.cancel(job.scheduler_id)
    for task in stands.paused:
        with suppress(SchedulerRefused):  # it has begun meanwhile
            ports.engine.begin_now(task.id)
    with ports.works() as work:
        over = superseded(work.jobs.attempts(job.id), stands.tasks, ports.now())
        for attempt in (*over, *attempts_of(job, stands.tasks)):
            work.jobs.put_attempt(attempt)
        starting = _starting(work.fleet, stands)
    if not stands.finished:
        return Wait(_why(stands, starting), {"state": stands.state})
    ended = max((task.ended_at for task in stands.tasks if task.ended_at), default=ports.now())
    code = "" if stands.exit_code is None else f", exit code {stands.exit_code}"
    facts = {"state": stands.state, "ended_at": ended, "exit_code": stands.exit_code, "reason": ""}
    return Done(f"ended as {stands.state}{code}", facts)


def outputs(job: Job, ports: Ports) -> Outcome:
    """Every attempt's manifest is written, after all its nodes have reported or are gone."""
    with ports.reads() as work:
        attempts = [attempt for attempt in work.jobs.attempts(job.id) if attempt.nodes]
        parts = {attempt: work.jobs.parts(attempt) for attempt in attempts}
        silent = [(node, attempt) for attempt in attempts for node in _silent(attempt, parts[attempt], ports)]
        owing = {node for node, attempt in silent if _owes(work, node, attempt)}
    if owing and ports.now() - (job.ended_at or ports.now()) < OUTPUTS_WITHIN:
        return Wait(f"outputs of {fold(sorted(owing))} are on their way to the store")
    for attempt, part in _put_by_the_job(job, attempts, ports):
        parts[attempt] = [*(each for each in parts[attempt] if each.node != part.node), part]
    for attempt in attempts:
        manifest = stage_out.complete(ports.store, attempt, parts[attempt])
        with ports.works() as work:
            work.jobs.put_attempt(replace(attempt, manifest_sha256=manifest.sha256))
    files = sum(len(part.files) for attempt in attempts for part in parts[attempt])
    lost = {node for node, attempt in silent if attempt.started_at and attempt.state != "REQUEUED"}
    reason = f"{fold(sorted(lost))} was lost before its outputs were in the store" if lost else ""
    told = "; ".join(filter(None, (f"{files} files are in the store, with their manifest", reason)))
    return Done(told, {"reason": reason} if attempts else {})


def withdraw(records: Iterable[KeyRecord], ports: Ports) -> None:
    """End every key that these attempts were given, and give them no more. Raises StoreUnavailable, StoreError."""
    for record in records:
        with ports.works() as work:
            work.key_records.end(record.job, record.label, ports.now())
        if ports.job_keys is not None:
            ports.job_keys.withdraw(record.role)
        with ports.works() as work:
            work.key_records.close(record.job, record.label, ports.now())


def settle(job: Job, ports: Ports) -> Outcome:
    """The hold became one receipt and a refund."""
    receipt = _receipt(job, ports)
    charged, refunded = format_credits(receipt.charged_ucr), format_credits(receipt.refunded_ucr)
    return Done(f"charged {charged}, gave back {refunded}; receipt {receipt.number}")


def _receipt(job: Job, ports: Ports) -> Receipt:
    """The receipt that the job has, or a new one: its outputs are metered before the transaction that charges."""
    with ports.reads() as work, suppress(NotFound):
        return work.receipts.of(job.id)
    billed = billing(job, ports, job.ended_at or job.submitted_at)
    with ports.works() as work:
        work.ledger.settle(job.id, billed.charged_ucr, "job ended", ports.now())
        receipt = issue(job, billed, work.receipts.next_number(), ports.ring, ports.now())
        work.receipts.keep(receipt)
        work.audit.tell(settle_act(job, receipt.number, receipt.charged_ucr), ports.now())
    return receipt


def billing(job: Job, ports: Ports, now: datetime) -> Bill:
    """What a job has used until ``now``: units that it delivered if it ordered some, node time otherwise.

    Of a job that still runs, units count as far as its output has reached the store.
    """
    order = job.request.burst.units
    with ports.reads() as work:
        runs = work.jobs.attempts(job.id)
        latest = work.jobs.latest_attempts(job.id)
        parts = {attempt: work.jobs.parts(attempt) for attempt in latest} if order else {}
    if order is None:
        return bill(job, runs, ports.tariff, now)
    return bill_units(order, [_delivered(job, order, attempt, parts[attempt], ports) for attempt in latest])


def printed_to(job: Job, attempt: Attempt, place: Place, stream: str = "stdout") -> str:
    """The path of a run's stdout, or of its stderr, among its outputs."""
    path = attempt.stdout if stream == "stdout" else attempt.stderr
    return path.removeprefix(f"{job.work(place.directory)}/")


def _delivered(job: Job, order: UnitOrder, attempt: Attempt, parts: Iterable[Part], ports: Ports) -> Delivery:
    """What one task delivered, from outputs that are what was staged out; what cannot be believed counts as 0."""
    if attempt.manifest_sha256 is None:
        pieces = [stage_out.live_output(ports.store, attempt)] if order.file == STDOUT and attempt.nodes else []
        return Delivery(attempt.task, read(order, [pieces], exit_code=attempt.exit_code))
    manifest = stage_out.merged(attempt, parts)
    wanted = printed_to(job, attempt, ports.place) if order.file == STDOUT else order.file
    found = [entry for entry in manifest.entries if _is_metered(entry, wanted, order)]
    try:
        files = [verified.pieces(ports.store, attempt.prefix, entry) for entry in found]
        units = read(order, files, exit_code=attempt.exit_code)
    except (ChecksumMismatch, NotFound) as error:
        return Delivery(attempt.task, 0, f"not metered: {error.detail}")
    missing = "" if found or order.meter == MeterKind.EXIT_0 else f"nothing that it wrote is {wanted}"
    return Delivery(attempt.task, units, missing)


def _is_metered(entry: Entry, wanted: str, order: UnitOrder) -> bool:
    return entry.path == wanted if order.file == STDOUT else fnmatchcase(entry.path, wanted)


ROUTE: Mapping[Stage, tuple[str, Callable[[Job, Ports], Outcome], Stage]] = {
    Stage.FUNDED: ("inputs are in the store", inputs, Stage.STAGED_IN),
    Stage.STAGED_IN: ("Slurm takes it", queue, Stage.QUEUED),
    Stage.QUEUED: ("Slurm runs it", follow, Stage.RAN),
    Stage.RAN: ("outputs reach the store", outputs, Stage.STAGED_OUT),
    Stage.STAGED_OUT: ("hold becomes receipt", settle, Stage.SETTLED),
}
"""Stage → what happens there, who performs it, where it leads."""


def refuse(job: Job, ports: Ports, error: SchedulerRefused | InvalidRequest) -> Job:
    """Slurm refused the job, or its inputs are gone: it ran nothing, and goes on to settle at zero."""
    who = "Slurm refused it" if isinstance(error, SchedulerRefused) else "it cannot run"
    with ports.works() as work:
        facts = {"state": "FAILED", "reason": error.detail, "ended_at": ports.now()}
        work.audit.tell(refusal_act(job, error.detail), ports.now())
        return work.jobs.move(job, Stage.RAN, ports.now(), f"{who}: {error.detail}", **facts)


def _tasks(token: str, scheduler_id: int, ports: Ports) -> tuple[SchedulerJob, ...]:
    try:
        tasks = ports.engine.job(scheduler_id)
    except NotFound:
        return ()
    # A slurmctld that died may give the numbers that it had not saved to other jobs.
    return tuple(task for task in tasks if task.token == token)


def _away(task: SchedulerJob, ports: Ports) -> SchedulerJob:
    """A task as far as it concerns us: one that a site runs on its own nodes has none of ours, and costs nothing."""
    home = ports.site is not None and task.nodes and not any(map(ports.site.has, task.nodes))
    return replace(task, nodes=()) if home else task


def _forgotten(job: Job, ports: Ports) -> Outcome:
    """slurmctld died before it had saved the job: one that never ran is given to it again, another is lost."""
    with ports.reads() as work:
        ran = any(attempt.started_at for attempt in work.jobs.attempts(job.id))
    if ran or job.request.site_directory or ports.now() - job.submitted_at > _REMEMBERED_FOR:
        lost = "Slurm does not know it any more"
        return Done(lost, {"state": "NODE_FAIL", "reason": lost, "ended_at": ports.now()})
    again = queue(job, ports)
    return again if again.stage else Wait("Slurm had lost it and was given it again", again.facts)


def _release(job: Job, ports: Ports) -> Done:
    """A job that the site's own sbatch gave to Slurm is told that it may start, and from then on known by our token."""
    assert ports.site is not None  # noqa: S101 - who has such jobs has a site
    assert job.scheduler_id is not None  # noqa: S101 - it came with one
    try:
        if job.cancel_requested:
            ports.engine.cancel(job.scheduler_id)
            return _never_ran("cancelled before it was released")
        ports.site.release(job.scheduler_id, job.id, job.offer)
    except NotFound:
        return _never_ran("it was gone before it was released")
    except SchedulerRefused as refusal:
        ports.site.give_up(job.scheduler_id)
        return _never_ran(f"Slurm would not start it: {refusal.detail}")
    return Done(f"job {job.scheduler_id} of the site may start", {"scheduler_id": job.scheduler_id})


def _queued(scheduler_id: int) -> Done:
    return Done(f"Slurm has it as job {scheduler_id}", {"scheduler_id": scheduler_id})


def _put_by_the_job(job: Job, attempts: Iterable[Attempt], ports: Ports) -> Iterator[tuple[Attempt, Part]]:
    """What attempts put into the store with keys of their own, looked at once no key of theirs opens it any more."""
    with ports.reads() as work:
        records = work.key_records.of(job.id)
    withdraw((record for record in records if record.withdrawn_at is None), ports)
    keyed = {record.attempt for record in records}
    for attempt in attempts:
        if attempt.label in keyed:
            part = stage_out.put_by_the_job(ports.store, attempt)
            with ports.works() as work:
                work.jobs.add_part(attempt, part, ports.now())
            yield attempt, part


def _never_ran(text: str) -> Done:
    return Done(text, {"state": "CANCELLED", "reason": text}, Stage.RAN)


def _starting(fleet: Fleet, stands: Standing) -> str:
    """The nodes that are not usable yet, by state: "small-[1-2] booting, small-3 requested"."""
    by_state: dict[str, list[str]] = {}
    for node in map(fleet.get, stands.waiting_for):
        why = f" ({node.reason})" if node.state is NodeState.CAPACITY_BLOCKED else ""
        if node.state not in USABLE:
            by_state.setdefault(f"{node.state}{why}", []).append(node.name)
    return ", ".join(f"{fold(names)} {state}" for state, names in by_state.items())


def _why(stands: Standing, starting: str) -> str:
    if starting:
        return f"its nodes are being made: {starting}"
    if stands.waiting_for:
        return "its nodes are up and are being prepared"
    return reason_sentence(stands.reason) if stands.state == "PENDING" else ""


def _silent(attempt: Attempt, parts: Iterable[Part], ports: Ports) -> set[str]:
    expected = attempt.nodes[:1] if ports.shared_filesystem else attempt.nodes
    return set(expected) - {part.node for part in parts}


def _owes(work: Work, name: str, attempt: Attempt) -> bool:
    """Whether a node still has this run's outputs; one of the same name may be another machine by now."""
    try:
        node = work.fleet.get(name)
    except NotFound:
        return False
    return node.job == attempt.scheduler_id and node.state in USABLE | {NodeState.DRAINING, NodeState.STAGING_OUT}
