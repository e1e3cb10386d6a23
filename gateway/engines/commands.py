"""SlurmCommandsEngine: the Engine that runs Slurm's own commands on a login node, for sites without slurmrestd.

Invariant: states are read with ``squeue -o``; JSON is asked for of one job, or of the nodes, never of all jobs in a
loop.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gateway.engines.command_lines import ALREADY_DONE, refusal_of, submission_stdin, token_of
from gateway.engines.engine import SchedulerJob, SchedulerNode, Submission
from gateway.engines.login_node import Commands
from gateway.engines.rest_records import job_of, node_of
from gateway.engines.signals import signal_number
from gateway.errors import NotFound, SchedulerError, SchedulerRefused
from gateway.slurm.hostlists import fold
from gateway.ssh.session import Done

_RELEASE = re.compile(r"\b(\d+\.\d+\.\d+)")


class SlurmCommandsEngine:
    """Implements ``gateway.engines.engine.Engine``; may be used by many threads at once.

    ``login`` must act as an administrator of Slurm to set nodes, and as root to submit for another user.
    """

    name = "commands"

    def __init__(self, login: Commands) -> None:
        self._login = login

    def version(self) -> str:
        """Slurm's release on the login node, e.g. "24.11.5"."""
        text = self._run("sinfo", "--version").text
        if (found := _RELEASE.search(text)) is None:
            raise SchedulerError(f"sinfo --version said {text.strip()!r}", hint="is that a Slurm login node?")
        return found[1]

    def submit(self, submission: Submission) -> int:
        """Give Slurm a job, return its id. Raises SchedulerRefused.

        After SchedulerUnavailable the job may exist all the same: ``find`` its token before submitting again.
        """
        as_user = ["runuser", "-u", submission.user, "--"] if submission.user else []
        done = self._run(*as_user, "sh", "-s", data=submission_stdin(submission), told="sbatch")
        # ID, or ID;CLUSTER
        return int(done.text.split(";")[0])

    def find(self, token: str) -> int | None:
        """The id of the job, or whole array, that was submitted with ``token``."""
        for line in self._run("squeue", "-h", "-a", "-t", "all", "-o", "%F %k").text.splitlines():
            number, _, comment = line.partition(" ")
            if token_of(comment) == token:
                return int(number)
        return None

    def states(self) -> Mapping[int, frozenset[str]]:
        """States of all jobs that Slurm remembers; squeue prints a flag instead of the state that it is added to."""
        rows = (line.split() for line in self._run("squeue", "-h", "-a", "-t", "all", "-o", "%A %T").text.splitlines())
        return {int(number): _states(word) for number, word in rows}

    def job(self, job_id: int) -> tuple[SchedulerJob, ...]:
        """A job, or every known task of an array. Raises NotFound."""
        records = self._json("scontrol", "--json", "--all", "show", "job", str(job_id))["jobs"]
        if not records:
            raise NotFound(f"Slurm knows no job {job_id}")
        return tuple(replace(job_of(record), token=token_of(record.get("comment") or "")) for record in records)

    def cancel(self, job_id: int, task: int | None = None) -> None:
        """End a job or one task of it. Raises NotFound."""
        self.job(job_id)
        try:
            self._run("scancel", _target(job_id, task))
        except SchedulerRefused as refusal:
            if not ALREADY_DONE.search(refusal.detail):
                raise

    def signal(self, job_id: int, signal: str, task: int | None = None) -> None:
        """Send a signal to a job's steps. Raises NotFound, SchedulerRefused."""
        number = signal_number(signal)
        if all(task.finished for task in self.job(job_id)):
            # scancel says so on some releases only.
            raise SchedulerRefused("Job/step already completing or completed")
        self._run("scancel", f"--signal={number}", _target(job_id, task))

    def requeue(self, job_id: int) -> None:
        """Put a running job back into the queue. Raises NotFound, SchedulerRefused."""
        self._run("scontrol", "requeue", str(job_id))

    def begin_now(self, job_id: int) -> None:
        """Let a waiting job begin as soon as there is room. Raises NotFound, SchedulerRefused."""
        self._run("scontrol", "update", f"JobId={job_id}", "StartTime=now")

    def output(self, job_id: int) -> tuple[str, str]:
        """Paths of a job's stdout and stderr on its node. Raises NotFound."""
        job = self.job(job_id)[0]
        return job.standard_output, job.standard_error

    def nodes(self) -> tuple[SchedulerNode, ...]:
        """Every node."""
        return tuple(node_of(record) for record in self._json("scontrol", "--json", "--all", "show", "nodes")["nodes"])

    def update_nodes(self, names: Iterable[str], state: str, reason: str = "") -> None:
        """Set nodes' state. Raises SchedulerRefused."""
        why = [f"Reason={reason}"] if reason else []
        self._run("scontrol", "update", f"NodeName={fold(names)}", f"State={state}", *why)

    def _json(self, *argv: str) -> Any:
        done = self._run(*argv)
        try:
            return json.loads(done.out)
        except ValueError:
            raise SchedulerError(
                f"{argv[0]} --json printed no JSON", hint="this Slurm lacks its JSON serialiser; 24.11 to 26.05 have it"
            ) from None

    def _run(self, *argv: str, data: bytes = b"", told: str | None = None) -> Done:
        done = self._login.run(argv, data)
        if done.code != 0:
            raise refusal_of(done, told or argv[0])
        return done


def _states(word: str) -> frozenset[str]:
    return frozenset({"RUNNING", word}) if word == "CONFIGURING" else frozenset({word})


def _target(job_id: int, task: int | None) -> str:
    return str(job_id) if task is None else f"{job_id}_{task}"
