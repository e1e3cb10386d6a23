"""NodeService: what a node may ask for a job that is placed on it: its inputs, and where its outputs go.

Invariant: a node speaks only for itself and for jobs that Slurm placed on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gateway import wire
from gateway.engines.engine import Engine, SchedulerJob
from gateway.engines.run import attempt_of, superseded, task_of
from gateway.errors import NotFound, Refused, StoreUnavailable
from gateway.identity.audit import Act, Outcome
from gateway.identity.credentials import Credentials, JobGrant
from gateway.identity.gateway_acts import gateway_act
from gateway.identity.join import node_kid
from gateway.identity.specification import Voucher
from gateway.jobs.job import Attempt, Job, StageIn
from gateway.jobs.stages import OVER, Stage
from gateway.provisioning.fleet import ElasticNode
from gateway.slurm.dependencies import named
from gateway.staging import stage_in, stage_out
from gateway.staging.job_keys import OBJECTS, readable
from gateway.staging.object_store import ObjectStore
from gateway.work import Work, Works

TOKEN = re.compile(r"[0-9a-f]{32}")
"""A job's own id, by which its AdminComment in Slurm is known to be ours."""

CREDENTIAL_GRACE = timedelta(hours=1)
"""A job's credential outlives its time limit by this much, for staging out; it is revoked as soon as that is done."""


@dataclass(frozen=True)
class NodeFacts:
    """What every node of this gateway is told."""

    audience: str
    slurm_conf_server: str
    munge_key: bytes
    shared_filesystem: bool
    job_directory: str
    job_user: str
    voucher: Voucher
    key_bucket: str | None = None
    """The bucket that jobs have keys to; None: they have none."""
    lease_s: int = 900
    """Twice as long a node may live without a word from the gateway."""
    grace_s: int = 3600
    """So much longer if a job is on it."""


@dataclass(frozen=True)
class NodeService:
    """Requests of nodes."""

    works: Works
    engine: Engine
    store: ObjectStore
    credentials: Credentials
    facts: NodeFacts
    wake_jobs: Callable[[], None]
    wake_nodes: Callable[[], None]
    now: Callable[[], datetime]
    strangers: Callable[[SchedulerJob], object] = field(default=lambda _: None)
    """Told of a job on one of our nodes that no job of the gateway is behind."""

    def prolog(self, node: ElasticNode, request: wire.PrologRequest) -> wire.PrologReply:
        """What to do before a job starts. Raises Refused for a job that is not on this node."""
        task = self._placed(node, request.scheduler_id)
        if not TOKEN.fullmatch(task.token):
            self.strangers(task)
            raise NotFound(f"Job {task.id} is none of the gateway's.")
        self._require_unended(task)
        with self.works() as work:
            job = work.jobs.get(task.token)
            attempt = self._begin(work, job, task)
            work.fleet.note(work.fleet.get(node.name), job=task.id)
            work.jobs.note(job, state="RUNNING", reason="")
            work.jobs.tell(job.id, self.now(), "running", f"runs on {', '.join(task.nodes)}")
            text = f"runs {attempt.label} for {job.user}, paid by {job.account}"
            act = replace(gateway_act(job, "run", f"job:{job.id}", text), actor=f"node:{node.name}")
            work.audit.tell(replace(act, amount_ucr=job.hold_ucr), self.now())
            inputs = (*job.request.burst.stage_in, *(needed := tuple(_of_dependencies(work, job))))
        reply = wire.PrologReply(
            burst_id=job.id,
            attempt=attempt.label,
            directory=f"{self.facts.job_directory}/{job.id}",
            user=task.user if job.request.site_directory else self.facts.job_user,
            leader=node.name == task.nodes[0],
            inputs=stage_in.for_attempt(self.store, inputs),
            stage_out=job.request.burst.stage_out,
            credential=self._credential(job, attempt, node, needed),
            environment=self._streams(job, task),
            store=self._keyed_store(attempt, inputs),
            work=job.request.site_directory or None,
        )
        return self._vouched(reply, node, job, request.nonce)

    def _vouched(self, reply: wire.PrologReply, node: ElasticNode, job: Job, nonce: str) -> wire.PrologReply:
        plan = reply.model_dump(mode="json", exclude={"specification"})
        script = None if job.request.site_directory else job.request.script
        kid = node_kid(node.name, node.generation)
        vouched = self.facts.voucher.sign(kid, plan, script, nonce, self.now())
        return reply.model_copy(update={"specification": vouched})

    def prolog_failed(self, node: ElasticNode, request: wire.PrologFailedRequest) -> None:
        """The job's inputs cannot be had on this node: the job ends, the node stays in service."""
        task = self._placed(node, request.scheduler_id)
        failed = "refused to run it" if request.tampered else "could not stage in"
        with self.works() as work:
            work.jobs.tell(task.token, self.now(), "stage-in", f"{node.name} {failed}: {request.error}")
            if request.tampered:
                act = Act(f"node:{node.name}", "job.refuse", f"job:{task.token}", request.error, Outcome.ALARM)
                work.audit.tell(replace(act, job=task.token), self.now())
        self.engine.cancel(task.array_job_id or task.id, task.array_task_id)

    def presign(self, grant: JobGrant, request: wire.PresignRequest) -> wire.PresignReply:
        """Where a job puts its outputs. Raises Refused for a path outside the job's prefix."""
        return wire.PresignReply(urls=stage_out.presign(self.store, grant, request.paths))

    def epilog(self, node: ElasticNode, request: wire.EpilogRequest) -> None:
        """A node's part of an attempt's outputs is in the store; from now on its credential for the job is void."""
        with self.works() as work:
            attempt = work.jobs.attempt_on(request.scheduler_id)
        if node.name not in attempt.nodes or request.attempt != attempt.label:
            raise Refused(f"Job {request.scheduler_id} did not run as {request.attempt} on {node.name}.")
        part = stage_out.accept(self.store, attempt, node.name, request.files, request.errors)
        with self.works() as work:
            work.jobs.add_part(attempt, part, self.now())
            work.fleet.note(work.fleet.get(node.name), job=None)
            text = f"{node.name} put {len(part.files)} files into the store"
            work.jobs.tell(attempt.job, self.now(), "staging-out", "; ".join((text, *part.errors)))
        self.wake_jobs()

    def _placed(self, node: ElasticNode, scheduler_id: int) -> SchedulerJob:
        tasks = [task for task in self.engine.job(scheduler_id) if task.id == scheduler_id]
        if not tasks or node.name not in tasks[0].nodes:
            raise Refused(f"Slurm did not place job {scheduler_id} on {node.name}.")
        return tasks[0]

    def _require_unended(self, task: SchedulerJob) -> None:
        """A slurmctld that died may start anew what it had not saved the end of: that was staged out and paid for."""
        with self.works() as work:
            over = work.jobs.get(task.token).stage in OVER
        if over:
            self.engine.cancel(task.array_job_id or task.id, task.array_task_id)
            raise NotFound(f"Job {task.id} has ended, and is not run again.")

    def _begin(self, work: Work, job: Job, task: SchedulerJob) -> Attempt:
        now = self.now()
        known = work.jobs.attempts(job.id)
        for earlier in known:
            if (earlier.task, earlier.number) == (task_of(task), task.restarts) and earlier.started_at:
                return earlier
        for earlier in superseded(known, [task], now):
            work.jobs.put_attempt(earlier)
        attempt = replace(attempt_of(job, task), state="RUNNING", started_at=now)
        work.jobs.put_attempt(attempt)
        return attempt

    def _streams(self, job: Job, task: SchedulerJob) -> dict[str, str]:
        """Where below its working directory the job prints."""
        top = f"{job.work(self.facts.job_directory)}/"
        paths = {"BURST_STDOUT": task.standard_output, "BURST_STDERR": task.standard_error}
        return {name: path.removeprefix(top) for name, path in paths.items() if path.startswith(top)}

    def _keyed_store(self, attempt: Attempt, inputs: Iterable[StageIn]) -> wire.JobStore | None:
        if self.facts.key_bucket is None:
            return None
        keys = {each.destination: each.key for each in reversed(tuple(inputs)) if each.key}
        return wire.JobStore(bucket=self.facts.key_bucket, output_prefix=attempt.prefix + OBJECTS, inputs=keys)

    def _credential(self, job: Job, attempt: Attempt, node: ElasticNode, needed: Iterable[StageIn]) -> str:
        now = self.now()
        expires = now + timedelta(seconds=job.request.resources.time_limit_s) + CREDENTIAL_GRACE
        inputs = [each.key for each in job.request.burst.stage_in if each.key]
        folders = ["/".join(each.key.split("/")[:3]) + "/" for each in needed if each.key]
        reads = readable(job.user, inputs, folders)
        return self.credentials.mint(job, attempt, node.name, now, expires, reads=reads)


def _of_dependencies(work: Work, job: Job) -> Iterator[StageIn]:
    """Outputs of the jobs that this one depends on, where a shared folder would have shown their files."""
    for scheduler_id in named(job.request.options.get("dependency", "")):
        try:
            earlier = work.jobs.by_scheduler_id(scheduler_id)
        except NotFound:
            continue
        if earlier.stage in {Stage.QUEUED, Stage.RAN}:
            detail = f"The outputs of job {scheduler_id} are still on their way to the store."
            raise StoreUnavailable(detail, hint="ask again in a moment")
        if earlier.user == job.user and earlier.request.submit_directory == job.request.submit_directory:
            yield from _outputs(work, earlier)


def _outputs(work: Work, job: Job) -> Iterator[StageIn]:
    for attempt in work.jobs.latest_attempts(job.id):
        for entry in stage_out.merged(attempt, work.jobs.parts(attempt)).entries:
            key = attempt.prefix + entry.key
            yield StageIn(f"job {job.scheduler_id}", entry.path, key=key, size=entry.size, sha256=entry.sha256)
