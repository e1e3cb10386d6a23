"""SlurmAccounting: slurmdbd's answer about jobs (v0.0.42), given from the gateway's own records of jobs and attempts.

Invariant: every field is one that the gateway recorded; what only a slurmdbd would know (usage of memory, steps of
srun) is left out, not made up. Times are Unix seconds, 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand, whose
from gateway.identity.users import User
from gateway.jobs.job import NO_TASK, Attempt, Job
from gateway.route import Ports
from gateway.slurm.hostlists import fold
from gateway.slurm.states import FINISHED
from gateway.slurm.units import array_spec

Record = dict[str, Any]

_MOST = 1000
"""Jobs of one answer, the newest."""


@dataclass(frozen=True)
class Wanted:
    """Which jobs: by id ("12", "12_3"), users, names; ended at or after ``since``, submitted at or before ``until``."""

    ids: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class SlurmAccounting:
    """``cluster`` and ``partition`` are what jobs that name none have; ``cores`` of a node, by offer."""

    ports: Ports
    cluster: str
    partition: str
    cores: Mapping[str, int]

    def jobs(self, reader: Reader, wanted: Wanted) -> list[Record]:
        """Records of the reader's jobs, oldest first; an admin sees everybody's. Raises Refused."""
        demand(authorise(reader, Action.LIST_JOBS))
        return [record for job, runs in self._found(reader.user, wanted) for record in self._records(job, runs, wanted)]

    def _found(self, user: User, wanted: Wanted) -> list[tuple[Job, tuple[Attempt, ...]]]:
        numbers = {int(name.partition("_")[0]) for name in wanted.ids}
        with self.ports.reads() as work:
            jobs = work.jobs.recorded(whose(user), numbers, wanted.since, wanted.until, _MOST)
            return [(job, work.jobs.latest_attempts(job.id)) for job in jobs if _fits(job, wanted)]

    def _records(self, job: Job, runs: tuple[Attempt, ...], wanted: Wanted) -> Iterator[Record]:
        number = job.scheduler_id
        if "array" not in job.request.options:
            if not wanted.ids or str(number) in wanted.ids:
                yield self._record(job, runs[0] if runs else None, {"job_id": 0, "task_id": _unset(), "task": ""})
            return
        whole = not wanted.ids or str(number) in wanted.ids
        started = {run.task for run in runs}
        waiting = [index for index in array_spec(job.request.options["array"]).indices if index not in started]
        if not whole:
            waiting = [index for index in waiting if f"{number}_{index}" in wanted.ids]
        if waiting:
            yield self._record(job, None, {"job_id": number, "task_id": _unset(), "task": _ranges(waiting)})
        for run in runs:
            if whole or f"{number}_{run.task}" in wanted.ids:
                yield self._record(job, run, {"job_id": number, "task_id": _set(run.task), "task": ""})

    def _record(self, job: Job, run: Attempt | None, array: Record) -> Record:
        options, asked = job.request.options, job.request.resources
        state = _state(job, run)
        ended = run.ended_at if run else job.ended_at
        ended = ended or (job.ended_at if state in FINISHED else None)
        times = _times(job, run.started_at if run else None, ended, self.ports.now())
        exit_code = _exit_code(run.exit_code if run else job.exit_code, state)
        nodes = fold(run.nodes) if run and run.nodes else "None assigned"
        steps = [_batch(job, run, state, times, exit_code)] if run and run.started_at else []
        return {
            "account": job.account,
            "allocation_nodes": len(run.nodes) if run else 0,
            "array": array,
            "cluster": self.cluster,
            "comment": {"administrator": job.id, "job": options.get("comment", ""), "system": ""},
            "constraints": job.offer,
            "exit_code": exit_code,
            "derived_exit_code": exit_code,
            "group": "",
            "job_id": run.scheduler_id if run else job.scheduler_id,
            "name": job.request.name,
            "nodes": nodes,
            "partition": options.get("partition", self.partition),
            "qos": options.get("qos", ""),
            "required": {"CPUs": asked.cpus_per_node * asked.nodes, "nodes": asked.nodes},
            "restart_cnt": run.number if run else 0,
            "state": {"current": [state], "reason": "None"},
            "stderr": run.stderr if run else "",
            "stdout": run.stdout if run else "",
            "steps": steps,
            "submit_line": "",
            "time": times,
            "tres": {"allocated": self._allocated(job, run)},
            "user": job.user,
            "working_directory": job.request.submit_directory,
        }

    def _allocated(self, job: Job, run: Attempt | None) -> list[Record]:
        """Whole nodes: the partition shares none."""
        nodes = len(run.nodes) if run else 0
        cpus = nodes * self.cores.get(job.offer, 0)
        return [
            {"type": "cpu", "name": "", "id": 1, "count": cpus},
            {"type": "node", "name": "", "id": 4, "count": nodes},
        ]


def _fits(job: Job, wanted: Wanted) -> bool:
    named = not wanted.names or job.request.name in wanted.names
    return job.scheduler_id is not None and named and (not wanted.users or job.user in wanted.users)


def _state(job: Job, run: Attempt | None) -> str:
    """Slurm's accounting knows no CONFIGURING: a job runs from the moment it has nodes."""
    if run is None:
        return "RUNNING" if job.state == "CONFIGURING" else job.state
    if run.task == NO_TASK and (job.state in FINISHED or job.state == "PENDING"):
        return job.state
    return run.state


def _times(job: Job, started: datetime | None, ended: datetime | None, now: datetime) -> Record:
    limit = job.request.resources.time_limit_s // 60
    elapsed = int(((ended or now) - started).total_seconds()) if started else 0
    return {
        "elapsed": max(0, elapsed),
        "eligible": _seconds(job.submitted_at),
        "end": _seconds(ended),
        "start": _seconds(started),
        "submission": _seconds(job.submitted_at),
        "limit": _set(limit),
    }


def _batch(job: Job, run: Attempt, state: str, times: Record, exit_code: Record) -> Record:
    # Slurm ends the batch step of a cancelled job as CANCELLED, of one that ran out of time as CANCELLED too.
    shown = "CANCELLED" if state in {"TIMEOUT", "PREEMPTED", "DEADLINE"} else state
    return {
        "step": {"id": f"{job.scheduler_id}.batch", "name": "batch"},
        "nodes": {"count": 1, "range": run.nodes[0] if run.nodes else "", "list": list(run.nodes[:1])},
        "state": [shown],
        "exit_code": exit_code,
        "time": {name: times[name] for name in ("elapsed", "start", "end")},
    }


def _exit_code(code: int | None, state: str) -> Record:
    """As a shell has it, 128 + signal; Slurm keeps the two apart."""
    plain = code or 0
    signalled = plain - 128 if plain > 128 else 0  # noqa: PLR2004 - the shell's rule
    status = "SUCCESS" if state == "COMPLETED" else "SIGNALED" if signalled else "ERROR" if plain else "PENDING"
    return {
        "status": [status],
        "return_code": _set(0 if signalled else plain),
        "signal": {"id": _set(signalled), "name": ""},
    }


def _ranges(indices: Iterable[int]) -> str:
    """``[0-3,7]`` as Slurm writes waiting tasks of an array."""
    found: list[list[int]] = []
    for index in indices:
        if found and index == found[-1][-1] + 1:
            found[-1][1:] = [index]
        else:
            found.append([index])
    return ",".join("-".join(map(str, ends)) for ends in found)


def _set(number: int) -> Mapping[str, Any]:
    return {"set": True, "infinite": False, "number": number}


def _unset() -> Mapping[str, Any]:
    return {"set": False, "infinite": False, "number": 0}


def _seconds(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0
