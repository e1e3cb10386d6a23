"""slurmrestd's records of jobs and nodes, v0.0.42 to v0.0.44, read into the port's own.

Invariant: a number that Slurm has not set is None, never 0; a time that has not come is None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.engines.engine import SchedulerJob, SchedulerNode
from gateway.slurm.hostlists import expand

Record = Mapping[str, Any]

_NOT_ENDED = frozenset({"PENDING", "RUNNING", "SUSPENDED"})


def job_of(record: Record) -> SchedulerJob:
    """One element of ``jobs``."""
    states = frozenset(record["job_state"])
    exit_code = record.get("exit_code") or {}
    return SchedulerJob(
        id=int(record["job_id"]),
        array_job_id=number(record.get("array_job_id")) or None,
        array_task_id=number(record.get("array_task_id")),
        token=record.get("admin_comment") or "",
        states=states,
        reason=_reason(record),
        nodes=expand(record.get("nodes") or ""),
        batch_host=record.get("batch_host") or None,
        submitted_at=time_of(record.get("submit_time")),
        # Slurm fills both in advance: with its plan while the job waits, with the time limit while it runs.
        started_at=None if "PENDING" in states else time_of(record.get("start_time")),
        ended_at=None if states & _NOT_ENDED else time_of(record.get("end_time")),
        exit_code=number(exit_code.get("return_code")),
        signal=number((exit_code.get("signal") or {}).get("id")) or None,
        restarts=number(record.get("restart_cnt")) or 0,
        partition=record.get("partition") or "",
        name=record.get("name") or "",
        user=record.get("user_name") or str(record.get("user_id", "")),
        standard_output=record.get("stdout_expanded") or record.get("standard_output") or "",
        standard_error=record.get("stderr_expanded") or record.get("standard_error") or "",
    )


def node_of(record: Record) -> SchedulerNode:
    """One element of ``nodes``."""
    return SchedulerNode(
        name=str(record["name"]),
        states=frozenset(record.get("state") or ()),
        reason=record.get("reason") or "",
        address=record.get("address") or "",
        cpus=int(record.get("cpus") or 0),
        memory_mb=int(record.get("real_memory") or 0),
        boot_time=time_of(record.get("boot_time")),
    )


def state_key(record: Record) -> int:
    """Job id of one element of ``/jobs/state``: the digits that "12", "12_3" (task 3) and "12+0" begin with.

    Tasks of an array that wait together share one id, as they share one job in slurmctld.
    """
    return int(re.split(r"[_+]", str(record["job_id"]))[0])


def number(value: object) -> int | None:
    """An integer, or Slurm's ``{"set": …, "infinite": …, "number": …}``; None where it is unset or infinite."""
    if isinstance(value, Mapping):
        return int(value["number"]) if value.get("set") and not value.get("infinite") else None
    return int(value) if isinstance(value, int | float) else None


def time_of(value: object) -> datetime | None:
    """A Unix time in either form; None for 0 and for what is not set."""
    seconds = number(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _reason(record: Record) -> str:
    reason = record.get("state_reason") or ""
    return "" if reason == "None" else str(reason)
