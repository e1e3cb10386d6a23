"""SlurmRestEngine: the Engine that speaks to slurmrestd, the default adapter.

Invariant: states are read with ``/jobs/state`` only; the heavy list of all jobs is asked for after a lost reply, never
in a loop.
"""

from __future__ import annotations

import pwd
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.engines.engine import SchedulerJob, SchedulerNode, Submission
from gateway.engines.relay import Relayed
from gateway.engines.rest_client import ALREADY_DONE, RestClient
from gateway.engines.rest_records import job_of, node_of, state_key
from gateway.engines.signals import signal_number
from gateway.errors import NotFound, SchedulerRefused
from gateway.slurm.options import rest_fields

Requeue = Callable[[int], None]

_STATE_FLAGS = {"POWER_DOWN_FORCE": ["POWER_DOWN", "POWERED_DOWN"], "POWER_DOWN_ASAP": ["POWER_DOWN", "POWER_DRAIN"]}
"""States that scontrol(1) has a word for and slurmrestd has not, in the flags that scontrol makes of them."""


class SlurmRestEngine:
    """Implements ``gateway.engines.engine.Engine``; may be used by many threads at once.

    ``user`` is the Slurm user that acts, an administrator; ``token()`` returns a JWT for it (rest_auth/jwt).
    ``requeue`` requeues a job by another way: slurmrestd up to 26.05 has no call for it.
    """

    name = "slurmrest"

    def __init__(
        self, url: str, user: str, token: Callable[[], str], *, requeue: Requeue | None = None, timeout_s: float = 30.0
    ) -> None:
        self._client = RestClient(url, user, token, timeout_s)
        self._requeue = requeue

    def version(self) -> str:
        """Slurm's release, e.g. "24.11.5"."""
        return str(self._client.get("/ping")["meta"]["slurm"]["release"])

    def ready(self) -> bool:
        """Whether slurmctld itself answers; slurmrestd may be up before it."""
        return self._client.controller_answers()

    def submit(self, submission: Submission) -> int:
        """Give Slurm a job, return its id. Raises SchedulerRefused.

        After SchedulerUnavailable the job may exist all the same: ``find`` its token before submitting again.
        """
        job = {
            **rest_fields(submission.options),
            **({"argv": ["script", *submission.arguments]} if submission.arguments else {}),
            "admin_comment": submission.token,
            "current_working_directory": submission.working_directory,
            # slurmrestd refuses a job without any environment.
            "environment": [f"{name}={value}" for name, value in submission.environment.items()]
            or ["PATH=/usr/bin:/bin"],
            **(_identity(submission.user) if submission.user else {}),
        }
        answer = self._client.send("POST", "/job/submit", {"script": submission.script, "job": job})
        return int(answer["job_id"])

    def find(self, token: str) -> int | None:
        """The id of the job, or whole array, that was submitted with ``token``."""
        for job in self._client.get("/jobs")["jobs"]:
            if job.get("admin_comment") == token:
                known = job_of(job)
                return known.array_job_id or known.id
        return None

    def states(self) -> Mapping[int, frozenset[str]]:
        """States of all jobs that Slurm remembers."""
        jobs = self._client.get("/jobs/state/")["jobs"]
        return {state_key(job): frozenset(job["state"]) for job in jobs}

    def job(self, job_id: int) -> tuple[SchedulerJob, ...]:
        """A job, or every known task of an array. Raises NotFound."""
        jobs = tuple(job_of(job) for job in self._client.get(f"/job/{job_id}")["jobs"])
        if not jobs:
            raise NotFound(f"Slurm knows no job {job_id}")
        return jobs

    def cancel(self, job_id: int, task: int | None = None) -> None:
        """End a job or one task of it. Raises NotFound."""
        try:
            self._client.kill(_target(job_id, task))
        except SchedulerRefused as refusal:
            if refusal.errno != ALREADY_DONE:
                raise

    def signal(self, job_id: int, signal: str, task: int | None = None) -> None:
        """Send a signal to a job's steps, as scancel(1) does without ``--batch``. Raises NotFound, SchedulerRefused."""
        self._client.kill(_target(job_id, task), {"signal": signal_number(signal)})

    def requeue(self, job_id: int) -> None:
        """Put a running job back into the queue. Raises NotFound, SchedulerRefused."""
        if self._requeue is None:
            raise SchedulerRefused("slurmrestd has no call that requeues a job")
        self.job(job_id)
        self._requeue(job_id)

    def begin_now(self, job_id: int) -> None:
        """Let a waiting job begin as soon as there is room. Raises NotFound, SchedulerRefused."""
        self._client.send("POST", f"/job/{job_id}", {"begin_time": {"set": True, "number": int(time.time())}})

    def output(self, job_id: int) -> tuple[str, str]:
        """Paths of a job's stdout and stderr on its node. Raises NotFound."""
        job = self.job(job_id)[0]
        return job.standard_output, job.standard_error

    def nodes(self) -> tuple[SchedulerNode, ...]:
        """Every node."""
        return tuple(node_of(node) for node in self._client.get("/nodes/")["nodes"])

    def update_nodes(self, names: Iterable[str], state: str, reason: str = "") -> None:
        """Set nodes' state. Raises SchedulerRefused."""
        change: dict[str, Any] = {"name": list(names), "state": _STATE_FLAGS.get(state, [state])}
        if reason:
            change["reason"] = reason
        self._client.send("POST", "/nodes/", change)

    def relay(self, method: str, path: str, query: str = "", body: Mapping[str, Any] | None = None) -> Relayed:
        """Pass a request on as it is. See ``gateway.engines.relay``."""
        return self._client.relay(method, path, query, body)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def _target(job_id: int, task: int | None) -> str:
    return str(job_id) if task is None else f"{job_id}_{task}"


def _identity(user: str) -> dict[str, str]:
    """user_id and group_id of a job that runs as ``user``; the head must know the name. Raises SchedulerRefused."""
    try:
        known = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise SchedulerRefused(f"this machine knows no user {user}, whom the job would run as") from None
    return {"user_id": str(known.pw_uid), "group_id": str(known.pw_gid)}
