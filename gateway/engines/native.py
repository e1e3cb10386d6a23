"""PyslurmEngine: the Engine that calls libslurm through pyslurm, in a worker process of its own.

Invariant: this process never imports pyslurm; a worker that died is started again, and what it was asked meanwhile is
SchedulerUnavailable.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.engines import pyslurm_worker
from gateway.engines.engine import SchedulerJob, SchedulerNode, Submission
from gateway.engines.rest_records import time_of
from gateway.engines.signals import signal_number
from gateway.errors import NotFound, SchedulerError, SchedulerRefused, SchedulerUnavailable, SetupError
from gateway.slurm.hostlists import expand

_NO_SUCH_JOB = 2017
_ALREADY_DONE = 2021
_AWAY = frozenset({*range(1001, 1005), *range(1800, 1806), 2027, 5004})
_LOST_HINT = "Slurm may have acted on it: look the job up by its token before anything is sent again"
_NOT_ENDED = frozenset({"PENDING", "RUNNING", "SUSPENDED"})


class PyslurmEngine:
    """Implements ``gateway.engines.engine.Engine``; calls of many threads go to the worker one after another.

    ``environment`` has SLURM_CONF; ``python`` is an interpreter that has pyslurm, by default this one.
    """

    name = "pyslurm"

    def __init__(self, environment: Mapping[str, str], python: str = sys.executable) -> None:
        self._environment = dict(environment)
        self._command = [python, "-E", str(Path(pyslurm_worker.__file__))]
        self._worker: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self) -> str:
        """Start the worker; pyslurm's release. Raises SetupError, with the reason, where pyslurm cannot be used."""
        with self._lock:
            return self._start()

    def version(self) -> str:
        """Slurm's release, of the controller."""
        return str(self._ask("version"))

    def submit(self, submission: Submission) -> int:
        """Give Slurm a job, return its id. Raises SchedulerRefused."""
        return int(self._ask("submit", submission={**asdict(submission), "options": dict(submission.options)}))

    def find(self, token: str) -> int | None:
        """The id of the job, or whole array, that was submitted with ``token``."""
        found = self._ask("find", token=token)
        return None if found is None else int(found)

    def states(self) -> Mapping[int, frozenset[str]]:
        """States of all jobs that Slurm remembers; a flag stands for the state that it is added to."""
        return {int(number): _states(word) for number, word in self._ask("states").items()}

    def job(self, job_id: int) -> tuple[SchedulerJob, ...]:
        """A job, or every known task of an array. Raises NotFound."""
        found = tuple(_job(record) for record in self._ask("job", job=job_id))
        if not found:
            raise NotFound(f"Slurm knows no job {job_id}")
        return found

    def cancel(self, job_id: int, task: int | None = None) -> None:
        """End a job or one task of it. Raises NotFound."""
        for one in self._of(job_id, task):
            self._ask("cancel", job=one.id)

    def signal(self, job_id: int, signal: str, task: int | None = None) -> None:
        """Send a signal to a job's steps. Raises NotFound, SchedulerRefused."""
        number = int(signal_number(signal))
        tasks = self._of(job_id, task)
        if all(one.finished for one in tasks):
            # pyslurm takes it for done.
            raise SchedulerRefused("Job/step already completing or completed", errno=_ALREADY_DONE)
        for one in tasks:
            self._ask("signal", job=one.id, number=number)

    def requeue(self, job_id: int) -> None:
        """Put a running job back into the queue. Raises NotFound, SchedulerRefused."""
        self._ask("requeue", job=job_id)

    def begin_now(self, job_id: int) -> None:
        """Let a waiting job begin as soon as there is room. Raises NotFound, SchedulerRefused."""
        self._ask("begin_now", job=job_id)

    def output(self, job_id: int) -> tuple[str, str]:
        """Paths of a job's stdout and stderr on its node. Raises NotFound."""
        job = self.job(job_id)[0]
        return job.standard_output, job.standard_error

    def nodes(self) -> tuple[SchedulerNode, ...]:
        """Every node."""
        return tuple(_node(record) for record in self._ask("nodes"))

    def update_nodes(self, names: Iterable[str], state: str, reason: str = "") -> None:
        """Set nodes' state. Raises SchedulerRefused."""
        for name in names:
            self._ask("update_node", node=name, state=state, reason=reason)

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            if self._worker is not None and self._worker.stdin is not None:
                self._worker.stdin.close()
                self._worker.wait()
            self._worker = None

    def _of(self, job_id: int, task: int | None) -> tuple[SchedulerJob, ...]:
        return tuple(one for one in self.job(job_id) if task in {None, one.array_task_id})

    def _ask(self, call: str, **given: Any) -> Any:
        with self._lock:
            try:
                if self._worker is None or self._worker.poll() is not None:
                    self._start()
                answer = self._exchange(json.dumps({"call": call, "with": given}))
            except (OSError, ValueError) as error:
                raise SchedulerUnavailable(f"pyslurm's process ended: {error}", hint=_LOST_HINT) from error
        if "error" in answer:
            raise _refusal(answer)
        return answer["answer"]

    def _start(self) -> str:
        self._worker = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # libslurm prints its errors besides returning them.
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath), **self._environment},
            text=True,
        )
        assert self._worker.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            said = json.loads(self._worker.stdout.readline())
        except ValueError:
            said = {"unusable": f"its process ended at once with {self._worker.wait()}"}
        if "unusable" in said:
            self._worker.wait()
            raise SetupError(f"pyslurm: {said['unusable']}", hint="docs/engines.md says which release it must be")
        return str(said["ready"])

    def _exchange(self, line: str) -> Any:
        assert self._worker is not None  # noqa: S101
        assert self._worker.stdin is not None  # noqa: S101
        assert self._worker.stdout is not None  # noqa: S101
        self._worker.stdin.write(line + "\n")
        self._worker.stdin.flush()
        return json.loads(self._worker.stdout.readline())


def _refusal(answer: Mapping[str, Any]) -> SchedulerError | NotFound:
    text, number = str(answer["error"]), answer["errno"]
    if number in _AWAY:
        return SchedulerUnavailable(text, hint="Slurm's controller is down or starting; it is tried again by itself")
    if number == _NO_SUCH_JOB:
        return NotFound(text)
    return SchedulerRefused(text, errno=number)


def _states(word: str) -> frozenset[str]:
    return frozenset({"RUNNING", word}) if word == "CONFIGURING" else frozenset({word})


def _job(record: Mapping[str, Any]) -> SchedulerJob:
    states = _states(record["state"])
    submitted, started, ended = (time_of(record[name]) for name in ("submit_time", "start_time", "end_time"))
    return SchedulerJob(
        id=int(record["id"]),
        array_job_id=record["array_id"] or None,
        array_task_id=record["array_task_id"],
        token=record["admin_comment"] or "",
        states=states,
        reason="" if record["state_reason"] in {None, "None"} else record["state_reason"],
        nodes=expand(record["allocated_nodes"] or ""),
        batch_host=record["batch_host"],
        submitted_at=submitted,
        started_at=None if "PENDING" in states else started,
        ended_at=None if states & _NOT_ENDED else ended,
        exit_code=record["exit_code"],
        signal=record["exit_code_signal"] or None,
        restarts=int(record["requeue_count"] or 0),
        partition=record["partition"] or "",
        name=record["name"] or "",
        user=record["user_name"] or "",
        standard_output=record["standard_output"] or "",
        standard_error=record["standard_error"] or "",
    )


def _node(record: Mapping[str, Any]) -> SchedulerNode:
    return SchedulerNode(
        name=record["name"],
        states=frozenset(str(record["state"]).split("+")),
        reason=record["reason"] or "",
        address=record["address"] or "",
        cpus=int(record["total_cpus"] or 0),
        memory_mb=int(record["real_memory"] or 0),
        boot_time=time_of(record["boot_time"]),
    )
