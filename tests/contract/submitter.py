"""Submitter: gives scripts to an engine and waits, with a limit, for what becomes of them."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from slurm_clusters import Cluster

from gateway.engines.engine import Engine, SchedulerJob, Submission

WITHIN_S = 120.0


class Submitter:
    """Submits scripts to one engine and waits for what becomes of them."""

    def __init__(self, engine: Engine, cluster: Cluster) -> None:
        self.engine = engine
        self.cluster = cluster

    # Options as sbatch's long ones, "_" for "-".
    def submission(self, script: str, user: str | None = None, **options: object) -> Submission:
        return Submission(
            token=uuid.uuid4().hex,
            script=f"#!/bin/bash\n{script}\n",
            options={"job-name": "contract", **{name.replace("_", "-"): str(text) for name, text in options.items()}},
            environment={"PATH": self.cluster.slurm.environment()["PATH"], "GREETING": "hello there"},
            working_directory=str(self.cluster.work),
            user=user,
        )

    def submit(self, script: str, user: str | None = None, **options: object) -> int:
        return self.engine.submit(self.submission(script, user, **options))

    def ended(self, job: int) -> tuple[SchedulerJob, ...]:
        return self.until(job, lambda task: task.finished)

    def until(self, job: int, wanted: Callable[[SchedulerJob], bool]) -> tuple[SchedulerJob, ...]:
        return eventually(lambda: tasks if all(map(wanted, tasks := self.engine.job(job))) else None)

    def text(self, job: SchedulerJob) -> str:
        """What the job has written so far."""
        file = self.cluster.work / job.standard_output
        return file.read_text() if file.exists() else ""


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    never = threading.Event()
    deadline = time.monotonic() + WITHIN_S
    while (found := look()) is None or found is False:
        assert time.monotonic() < deadline, "it did not happen in time"
        never.wait(0.05)
    return found


def ran(task: SchedulerJob) -> bool:
    return task.state == "RUNNING" and "CONFIGURING" not in task.states
