"""SqlJobs: jobs, attempts, manifests' parts and timelines in SQL.

Invariant: a stage is an UPDATE that names the stage it was decided on; no row means that another worker was first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, select, update

from gateway.errors import Conflict, NotFound
from gateway.jobs.job import Attempt, BurstOptions, Event, Job, JobRequest, Resources, StageIn, UnitOrder
from gateway.jobs.stages import Stage, may_move
from gateway.jobs.store import OpenJob, Part
from gateway.jobs.terms import Rates, Terms
from gateway.storage.tables import attempts, job_events, jobs, manifest_parts

_JOB_FIELDS = tuple(field.name for field in fields(Job) if field.name not in {"request", "user"})
_ATTEMPT_FIELDS = tuple(field.name for field in fields(Attempt))

_OPEN = (
    *(jobs.c[field.name] for field in fields(OpenJob) if field.name != "array_tasks"),
    jobs.c.request["resources"]["array_tasks"].as_integer().label("array_tasks"),
)

_LAST_EVENT = (
    select(job_events.c.kind, job_events.c.text)
    .where(job_events.c.job == bindparam("job_id"))
    .order_by(job_events.c.id.desc())
    .limit(1)
)


_AT_ONCE = 1000
"""Names in one query: databases limit its variables."""


class SqlJobs:
    """Implements ``gateway.jobs.store.JobStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, job: Job) -> None:
        """See ``JobStore.add``."""
        row = {name: getattr(job, name) for name in _JOB_FIELDS}
        row |= {"user_name": job.user, "name": job.request.name, "request": asdict(job.request)}
        self._connection.execute(jobs.insert(), {**row, "submit_directory": job.request.submit_directory})

    def get(self, job_id: str) -> Job:
        """See ``JobStore.get``."""
        return self._one(select(jobs).where(jobs.c.id == job_id), job_id)

    def by_scheduler_id(self, scheduler_id: int) -> Job:
        """See ``JobStore.by_scheduler_id``."""
        # A site's slurmctld may have begun its numbers anew: the latest is meant.
        mine = select(jobs).where(jobs.c.scheduler_id == scheduler_id).order_by(jobs.c.submitted_at.desc())
        return self._one(mine, str(scheduler_id))

    def at(self, stages: Collection[Stage]) -> tuple[OpenJob, ...]:
        """See ``JobStore.at``."""
        query = select(*_OPEN).where(jobs.c.stage.in_(list(stages))).order_by(jobs.c.submitted_at)
        rows = self._connection.execute(query).mappings()
        return tuple(OpenJob(**{**row, "stage": Stage(row["stage"])}) for row in rows)

    def page(self, user: str | None, before: str | None, limit: int, state: str | None) -> tuple[Job, ...]:
        """See ``JobStore.page``."""
        query = select(jobs).order_by(jobs.c.submitted_at.desc(), jobs.c.id.desc()).limit(limit)
        if user is not None:
            query = query.where(jobs.c.user_name == user)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if before is not None:
            last = self.get(before)
            older = jobs.c.submitted_at < last.submitted_at
            query = query.where(older | ((jobs.c.submitted_at == last.submitted_at) & (jobs.c.id < last.id)))
        return tuple(_job(row) for row in self._connection.execute(query).mappings())

    def owned(self, user: str, wanted: Collection[object]) -> frozenset[object]:
        """See ``JobStore.owned``."""
        found: set[object] = set()
        for column, kind in ((jobs.c.id, str), (jobs.c.scheduler_id, int)):
            mine = [one for one in wanted if type(one) is kind]
            for start in range(0, len(mine), _AT_ONCE):
                named = column.in_(mine[start : start + _AT_ONCE])
                found.update(self._connection.scalars(select(column).where(jobs.c.user_name == user, named)))
        return frozenset(found)

    def recorded(
        self, user: str | None, numbers: Collection[int], since: datetime | None, until: datetime | None, most: int
    ) -> tuple[Job, ...]:
        """See ``JobStore.recorded``."""
        query = select(jobs).where(jobs.c.scheduler_id.is_not(None)).order_by(jobs.c.scheduler_id.desc()).limit(most)
        for condition in (
            jobs.c.user_name == user if user is not None else None,
            jobs.c.scheduler_id.in_(list(numbers)) if numbers else None,
            jobs.c.ended_at.is_(None) | (jobs.c.ended_at >= since) if since is not None else None,
            jobs.c.submitted_at <= until if until is not None else None,
        ):
            query = query if condition is None else query.where(condition)
        return tuple(reversed([_job(row) for row in self._connection.execute(query).mappings()]))

    def move(self, job: Job, stage: Stage, now: datetime, text: str, **facts: Any) -> Job:
        """See ``JobStore.move``."""
        if not may_move(job.stage, stage):
            raise Conflict(f"Job {job.id} cannot go from {job.stage} to {stage}.")
        moved = replace(job, stage=stage, **facts)
        self._record(job, moved)
        self.tell(job.id, now, stage, text)
        return moved

    def note(self, job: Job, **facts: Any) -> Job:
        """See ``JobStore.note``."""
        noted = replace(job, **facts)
        self._record(job, noted)
        return noted

    def tell(self, job_id: str, now: datetime, kind: str, text: str) -> None:
        """See ``JobStore.tell``."""
        last = self._connection.execute(_LAST_EVENT, {"job_id": job_id}).one_or_none()
        if last is None or (last.kind, last.text) != (kind, text):
            self._connection.execute(job_events.insert(), {"job": job_id, "at": now, "kind": kind, "text": text})

    def timeline(self, job_id: str) -> tuple[Event, ...]:
        """See ``JobStore.timeline``."""
        query = select(job_events).where(job_events.c.job == job_id).order_by(job_events.c.id)
        return tuple(Event(row["at"], row["kind"], row["text"]) for row in self._connection.execute(query).mappings())

    def put_attempt(self, attempt: Attempt) -> None:
        """See ``JobStore.put_attempt``."""
        mine = (
            (attempts.c.job == attempt.job) & (attempts.c.task == attempt.task) & (attempts.c.number == attempt.number)
        )
        known = self._connection.execute(select(attempts).where(mine)).mappings().first()
        row = {name: getattr(attempt, name) for name in _ATTEMPT_FIELDS}
        if known is None:
            self._connection.execute(attempts.insert().values(**{**row, "nodes": list(attempt.nodes)}))
            return
        facts = {name: value for name, value in row.items() if value not in (None, (), "") and value != known[name]}
        if facts:
            self._connection.execute(update(attempts).where(mine).values(**facts))

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """See ``JobStore.attempts``."""
        query = select(attempts).where(attempts.c.job == job_id).order_by(attempts.c.task, attempts.c.number)
        return tuple(_attempt(row) for row in self._connection.execute(query).mappings())

    def latest_attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """See ``JobStore.latest_attempts``."""
        return tuple({attempt.task: attempt for attempt in self.attempts(job_id)}.values())

    def attempt_on(self, scheduler_id: int) -> Attempt:
        """See ``JobStore.attempt_on``."""
        query = (
            select(attempts)
            .where(attempts.c.scheduler_id == scheduler_id)
            .order_by(attempts.c.started_at.desc().nulls_last(), attempts.c.number.desc())
        )
        if (row := self._connection.execute(query.limit(1)).mappings().first()) is None:
            raise NotFound(f"No run of job {scheduler_id} is known.")
        return _attempt(row)

    def begun_on(self, user: str, node: str) -> tuple[Attempt, ...]:
        """See ``JobStore.begun_on``."""
        query = (
            select(attempts)
            .join(jobs, jobs.c.id == attempts.c.job)
            .where(jobs.c.user_name == user, jobs.c.stage == Stage.QUEUED)
            .where(attempts.c.started_at.is_not(None), attempts.c.ended_at.is_(None))
        )
        found = (_attempt(row) for row in self._connection.execute(query).mappings())
        return tuple(each for each in found if node in each.nodes and not self.reported(each.job, each.label, node))

    def add_part(self, attempt: Attempt, part: Part, now: datetime) -> None:
        """See ``JobStore.add_part``."""
        key = {"job": attempt.job, "task": attempt.task, "number": attempt.number, "node": part.node}
        self._connection.execute(manifest_parts.delete().filter_by(**key))
        documents = {"files": [dict(file) for file in part.files], "errors": list(part.errors)}
        self._connection.execute(manifest_parts.insert().values(**key, **documents, at=now))

    def parts(self, attempt: Attempt) -> Sequence[Part]:
        """See ``JobStore.parts``."""
        query = select(manifest_parts).filter_by(job=attempt.job, task=attempt.task, number=attempt.number)
        rows = self._connection.execute(query.order_by(manifest_parts.c.node)).mappings()
        return tuple(Part(row["node"], tuple(row["files"]), tuple(row["errors"])) for row in rows)

    def reported(self, job_id: str, label: str, node: str) -> bool:
        """See ``JobStore.reported``."""
        return any(
            attempt.label == label and any(part.node == node for part in self.parts(attempt))
            for attempt in self.attempts(job_id)
        )

    def _one(self, query: Select[Any], name: str) -> Job:
        if (row := self._connection.execute(query).mappings().first()) is None:
            raise NotFound(f"There is no job {name}.", hint="`burst jobs` lists yours")
        return _job(row)

    def _record(self, old: Job, new: Job) -> None:
        changed = {name: getattr(new, name) for name in _JOB_FIELDS if getattr(new, name) != getattr(old, name)}
        if not changed:
            return
        mine = (jobs.c.id == old.id) & (jobs.c.stage == old.stage)
        if self._connection.execute(update(jobs).where(mine).values(**changed)).rowcount != 1:
            raise Conflict(f"Job {old.id} was moved by another worker.")


def _job(row: RowMapping) -> Job:
    values = {name: row[name] for name in _JOB_FIELDS}
    return Job(**{**values, "stage": Stage(row["stage"])}, user=row["user_name"], request=_request(row["request"]))


def _request(document: Mapping[str, Any]) -> JobRequest:
    burst = document["burst"]
    stage_in = tuple(StageIn(**item) for item in burst["stage_in"])
    units = UnitOrder(**burst["units"]) if burst.get("units") else None
    return JobRequest(
        **{
            **document,
            "arguments": tuple(document["arguments"]),
            "resources": Resources(
                **{**document["resources"], "gpu_types": tuple(document["resources"].get("gpu_types", ()))}
            ),
            "terms": _terms(document.get("terms")),
            "burst": BurstOptions(
                **{**burst, "stage_in": stage_in, "stage_out": tuple(burst["stage_out"]), "units": units}
            ),
        }
    )


def _terms(document: Mapping[str, Any] | None) -> Terms:
    return Terms(**{**document, "rates": Rates(**document["rates"])}) if document else Terms()


def _attempt(row: RowMapping) -> Attempt:
    values = {name: row[name] for name in _ATTEMPT_FIELDS}
    return Attempt(**{**values, "nodes": tuple(row["nodes"])})
