"""JobService: jobs as their owners see them, cancel, outputs and receipts.

Invariant: a job of somebody else is not found, so that its existence is not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from gateway import wire
from gateway.errors import NotFound
from gateway.identity.access import clean_path, is_below
from gateway.identity.authenticate import Caller, Reader
from gateway.identity.authorise import Action, Refused, authorise, demand, whose, within
from gateway.jobs.job import NO_TASK, Attempt, Job
from gateway.jobs.stages import FINAL, ROUTE_ORDER, Stage
from gateway.route import Ports, printed_to
from gateway.service.acts import job_act
from gateway.service.sight import Sight, concealed, path_of, sight_of
from gateway.staging import stage_in, stage_out
from gateway.staging.manifest import Manifest
from gateway.work import Work

URL_S = 3600
"""How long a user may begin a download."""

_BY_SLURM = re.compile(r"(?P<id>[0-9]{1,11})(?:_(?P<task>[0-9]{1,9}))?")
_BY_US = re.compile(r"[0-9a-f]{32}")
_BEYOND_CANCEL = FINAL | set(ROUTE_ORDER[ROUTE_ORDER.index(Stage.RAN) :])


@dataclass(frozen=True)
class JobService:
    """Everything about jobs but their submission."""

    ports: Ports

    def upload(self, caller: Caller, request: wire.UploadRequest) -> wire.Upload:
        """Where an input goes; no URL when the store has it. Raises Refused."""
        demand(authorise(caller, Action.UPLOAD))
        return stage_in.upload(self.ports.store, caller.user.name, request)

    def find(self, caller: Reader, name: str, action: Action = Action.SEE_JOB) -> Job:
        """By Slurm's id ("12", "12_3") or by its own. Raises NotFound, also for what the caller may not do."""
        demand(within(caller, action))
        with self.ports.reads() as work:
            job = _find(work, name)
        verdict = authorise(caller, action, owner=job.user)
        if isinstance(verdict, Refused) and not verdict.told:
            raise concealed(name, verdict)
        demand(verdict)
        return job

    def sight(self, caller: Reader, name: str, action: Action = Action.FETCH_OUTPUTS) -> Sight:
        """What the caller may do with a job's outputs, by its name as for ``find``.

        Raises NotFound; Refused for a login without the scope of what it is to do.
        """
        demand(within(caller, action))
        with self.ports.reads() as work:
            return sight_of(work, caller, _find(work, name))

    def page(self, caller: Reader, cursor: str | None, limit: int, state: str | None) -> wire.JobPage:
        """Newest first; an admin sees everybody's."""
        demand(authorise(caller, Action.LIST_JOBS))
        with self.ports.reads() as work:
            jobs = work.jobs.page(whose(caller.user), cursor, limit, state)
        more = jobs[-1].id if len(jobs) == limit else None
        return wire.JobPage(jobs=tuple(self.view(job) for job in jobs), next=more)

    def view(self, job: Job, *, whole: bool = False) -> wire.JobView:
        """A job for its owner; ``whole`` with its attempts and timeline."""
        with self.ports.reads() as work:
            attempts = work.jobs.attempts(job.id) if whole else ()
            timeline = work.jobs.timeline(job.id) if whole else ()
        return wire.JobView(
            id=job.scheduler_id,
            burst_id=job.id,
            name=job.request.name,
            user=job.user,
            account=job.account,
            offer=job.offer,
            stage=job.stage,
            state=job.state,
            reason=job.reason or job.stop_reason,
            exit_code=job.exit_code,
            hold_ucr=job.hold_ucr,
            submitted_at=job.submitted_at,
            ended_at=job.ended_at,
            finished=job.stage in FINAL,
            attempts=tuple(_attempt_view(attempt) for attempt in attempts),
            timeline=tuple(wire.EventView(**vars(event)) for event in timeline),
        )

    def cancel(self, caller: Caller, name: str) -> Job:
        """End a job, or one task of it ("12_3"), wherever it is on its route. Raises NotFound."""
        found = self.find(caller, name, Action.CANCEL_JOB)
        task = _task(name)
        job = self.note_cancel(caller, found, task)
        if job.scheduler_id is not None and job.stage not in _BEYOND_CANCEL:
            self.ports.engine.cancel(job.scheduler_id, task)
        return job

    def note_cancel(self, caller: Caller, found: Job, task: int | None) -> Job:
        """Record that its owner wants it, or one task of it, to end; nothing for a job that has ended."""
        with self.ports.works() as work:
            job = work.jobs.get(found.id)
            if job.stage in _BEYOND_CANCEL:
                return job
            work.evidence.keep(caller.evidence)
            if task is None:
                job = work.jobs.note(job, cancel_requested=True)
            what = "it" if task is None else f"task {task}"
            work.jobs.tell(job.id, self.ports.now(), "cancel", f"{caller.user.name} cancelled {what}")
            work.audit.tell(job_act(caller, job, "cancel", f"cancelled {what}"), self.ports.now())
        return job

    def outputs(self, caller: Reader, name: str, path: str = "") -> wire.Outputs:
        """The files of each task's latest attempt that the caller may have, below ``path``.

        Raises NotFound while there are none yet, and for who may have none.
        """
        seen = self.sight(caller, name)
        seen.demand_anything(name)
        self._demand_staged_out(seen.job, name)
        files = self.files(seen.job, seen.reads, folder := clean_path(path))
        if folder and not files:
            raise NotFound(f"Job {name} left nothing there.", hint="burst fetch without a path shows what it left")
        return wire.Outputs(job=seen.job.scheduler_id or 0, files=files)

    def files(
        self, job: Job, reads: Callable[[str], bool], folder: str = "", url_s: int = URL_S
    ) -> tuple[wire.OutputFile, ...]:
        """What a job left below ``folder``, as far as ``reads`` says so; each URL is good for ``url_s`` seconds."""
        return tuple(
            wire.OutputFile(
                path=entry.path,
                size=entry.size,
                sha256=entry.sha256,
                task=None if attempt.task == NO_TASK else attempt.task,
                url=self.ports.store.presign_get(attempt.prefix + entry.key, url_s, "user"),
            )
            for attempt in self._latest(job)
            for entry in self._manifest(attempt).entries
            if is_below(path := path_of(attempt, entry), folder) and reads(path)
        )

    def download(self, caller: Reader, name: str, path: str, task: int | None) -> str:
        """A URL under which a browser saves one output file. Raises NotFound."""
        seen = self.sight(caller, name)
        seen.demand_anything(name)
        for attempt in self._latest(seen.job):
            entries = self._manifest(attempt).entries if attempt.task == (NO_TASK if task is None else task) else ()
            for entry in entries:
                if entry.path == path and seen.reads(path_of(attempt, entry)):
                    file_name = PurePosixPath(path).name
                    return self.ports.store.presign_get(attempt.prefix + entry.key, URL_S, "user", file_name)
        raise NotFound(f"Job {name} left no file of that name.", hint="`burst job` lists what it left")

    def logs(self, caller: Reader, name: str, stream: str) -> str:
        """What the job printed, so far while it runs; of an array, task after task."""
        seen = self.sight(caller, name)
        seen.demand("", name)
        job = seen.job
        if job.request.in_place and (runs := self._latest(job)):
            files = ", ".join(dict.fromkeys(run.stdout if stream == "stdout" else run.stderr for run in runs))
            raise NotFound(f"Job {name} runs in place; what it prints is not in the store.", hint=f"read {files}")
        return "".join(self._log(job, attempt, stream) for attempt in self._latest(job))

    def receipt(self, caller: Reader, name: str) -> wire.Receipt:
        """The bill. Raises NotFound before it is settled."""
        job = self.find(caller, name)
        with self.ports.reads() as work:
            try:
                receipt = work.receipts.of(job.id)
            except NotFound as error:
                hint = "the receipt comes when the job has ended and its outputs are in the store"
                raise NotFound(f"Job {name} has no receipt yet: it is {job.stage}.", hint=hint) from error
        facts = {**vars(receipt), "lines": tuple(wire.QuoteLine(**vars(line)) for line in receipt.lines)}
        return wire.Receipt.model_validate({**facts, "job": job.scheduler_id, "burst_id": job.id})

    def _latest(self, job: Job) -> tuple[Attempt, ...]:
        with self.ports.reads() as work:
            return work.jobs.latest_attempts(job.id)

    def _manifest(self, attempt: Attempt) -> Manifest:
        with self.ports.reads() as work:
            return stage_out.merged(attempt, work.jobs.parts(attempt))

    def _demand_staged_out(self, job: Job, name: str) -> None:
        if job.stage not in {Stage.STAGED_OUT, Stage.SETTLED}:
            hint = f"`burst job {name}` shows where it is"
            raise NotFound(f"The outputs of job {name} are not in the store yet: it is {job.stage}.", hint=hint)

    def _log(self, job: Job, attempt: Attempt, stream: str) -> str:
        if attempt.manifest_sha256 is None:
            text = stage_out.live_output(self.ports.store, attempt) if stream == "stdout" else b""
            return text.decode(errors="replace")
        relative = printed_to(job, attempt, self.ports.place, stream)
        keys = [attempt.prefix + entry.key for entry in self._manifest(attempt).entries if entry.path == relative]
        return self.ports.store.get_bytes(keys[0]).decode(errors="replace") if keys else ""


def _find(work: Work, name: str) -> Job:
    if match := _BY_SLURM.fullmatch(name):
        return work.jobs.by_scheduler_id(int(match["id"]))
    if _BY_US.fullmatch(name):
        return work.jobs.get(name)
    raise NotFound(f"There is no job {name[:64]!r}.", hint="`burst jobs` lists yours: 12, 12_3 or 32 hex digits")


def _task(name: str) -> int | None:
    match = _BY_SLURM.fullmatch(name)
    return int(match["task"]) if match and match["task"] else None


def _attempt_view(attempt: Attempt) -> wire.AttemptView:
    return wire.AttemptView(
        task=None if attempt.task == NO_TASK else attempt.task,
        number=attempt.number,
        scheduler_id=attempt.scheduler_id,
        state=attempt.state,
        nodes=attempt.nodes,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        exit_code=attempt.exit_code,
        staged_out=attempt.manifest_sha256 is not None,
    )
