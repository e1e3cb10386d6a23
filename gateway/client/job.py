"""Job: a submitted job as Python holds it, and the verbs of a notebook as plain functions.

Invariant: a handle keeps only the job's id; what it says was asked of the gateway at that moment.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gateway import wire
from gateway.client.gateway import Gateway, Submission, read_script
from gateway.client.money import in_credits
from gateway.client.session import Session
from gateway.errors import JobFailed, NotFound

_LAST_LINES = 5
"""How much of its stderr the error of a failed job quotes."""


@dataclass(frozen=True)
class Result:
    """What a job left: its files, downloaded below ``directory`` and verified, by their paths there."""

    directory: Path
    files: Mapping[str, Path]

    def json(self, name: str) -> Any:
        """One of its files, read as JSON. Raises NotFound for a file that the job did not leave."""
        return json.loads(self.text(name))

    def text(self, name: str) -> str:
        """One of its files, read as text. Raises NotFound."""
        if name not in self.files:
            left = ", ".join(self.files) or "none"
            raise NotFound(f"the job left no file {name!r}", hint=f"its files: {left}")
        return self.files[name].read_text()


class Job:
    """One job of one gateway. Every method raises the gateway's own errors.

    >>> job = submit("job.sh", nodes=2)
    >>> job.wait().state
    'COMPLETED'
    """

    def __init__(self, gateway: Gateway, name: int | str) -> None:
        self.gateway = gateway
        self.name = name
        """Slurm's job id or, before Slurm has it, the gateway's."""

    def status(self) -> wire.JobView:
        """The job now: state, stage, reason, attempts and timeline."""
        return self.gateway.job(self.name)

    @property
    def state(self) -> str:
        """Slurm's word for it, e.g. "RUNNING"."""
        return self.status().state

    def wait(self, on_change: Callable[[wire.JobView], object] | None = None) -> Job:
        """Wait until it has ended, its outputs are in the store and it is paid."""
        self.gateway.wait(self.name, on_change)
        return self

    def logs(self, stream: str = "stdout") -> str:
        """What it printed so far."""
        return self.gateway.logs(self.name, stream)

    def cancel(self) -> wire.JobView:
        """End it; what it made so far is kept."""
        return self.gateway.cancel(self.name)

    def outputs(self) -> tuple[wire.OutputFile, ...]:
        """The files that it left, each with its SHA-256 and a URL for an hour."""
        return self.gateway.outputs(self.name).files

    def receipt(self) -> wire.Receipt:
        """What it used and paid."""
        return self.gateway.receipt(self.name)

    def result(self, to: str | os.PathLike[str] | None = None) -> Result:
        """Wait, then download its files below ``to`` (default: job-ID here), each SHA-256 verified.

        Raises JobFailed, with the end of its stderr, for a job that did not complete.
        """
        view = self.gateway.wait(self.name)
        if view.state != "COMPLETED" or view.exit_code:
            raise self._failed(view)
        directory = Path(to) if to is not None else Path(f"job-{self.name}")
        found = self.gateway.fetch(self.name, directory)
        return Result(directory, {file.path: directory / file.path for file in found.files})

    def __repr__(self) -> str:
        return f"Job({self.name})"

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        return as_html(self.status())

    def _failed(self, view: wire.JobView) -> JobFailed:
        last = "\n".join(self.logs("stderr").splitlines()[-_LAST_LINES:])
        how = f"{view.state}, exit code {view.exit_code}"
        why = f": {view.reason}" if view.reason else ""
        said = f"\n{last}" if last else ""
        return JobFailed(f"job {self.name} ended {how}{why}{said}", hint=f"burst logs {self.name}")


@cache
def connected(profile: str | None = None) -> Gateway:
    """The gateway of the login that ``burst login`` kept; asked once. Raises NotAllowed without one."""
    return Gateway(Session.saved(profile))


def submit(
    script: str | os.PathLike[str],
    *arguments: str,
    gateway: Gateway | None = None,
    key: str | None = None,
    **options: object,
) -> Job:
    """Submit a script, by its path or as text that begins with ``#!``; ``arguments`` are the script's own.

    ``options`` are sbatch's long ones: ``nodes=2``, ``cpus_per_task=4``, ``hold=True``. The same ``key`` again gives
    the same job.
    """
    name, text, directory = _script(script)
    asked = gateway or connected()
    job = Submission(text, name, _words(options), arguments, directory=directory)
    view = asked.submit(job, key)
    return Job(asked, view.id if view.id is not None else view.burst_id)


def status(job: Job | int | str) -> wire.JobView:
    """The job now."""
    return _job(job).status()


def wait(job: Job | int | str) -> Job:
    """Wait until it has settled."""
    return _job(job).wait()


def result(job: Job | int | str, to: str | os.PathLike[str] | None = None) -> Result:
    """Its files, once it has completed. Raises JobFailed."""
    return _job(job).result(to)


def logs(job: Job | int | str, stream: str = "stdout") -> str:
    """What it printed so far."""
    return _job(job).logs(stream)


def cancel(job: Job | int | str) -> wire.JobView:
    """End it."""
    return _job(job).cancel()


def outputs(job: Job | int | str) -> tuple[wire.OutputFile, ...]:
    """The files that it left."""
    return _job(job).outputs()


def receipt(job: Job | int | str) -> wire.Receipt:
    """What it used and paid."""
    return _job(job).receipt()


def as_html(view: wire.JobView) -> str:
    """A job as a small HTML table; every text in it is escaped."""
    rows = {
        "job": f"{view.id or view.burst_id} {view.name}",
        "state": f"{view.state} ({view.stage})",
        "why": view.reason,
        "nodes": " ".join(node for attempt in view.attempts for node in attempt.nodes),
        "held": in_credits(view.hold_ucr),
    }
    cells = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in rows.items()
        if text
    )
    return f"<table>{cells}</table>"


def _job(job: Job | int | str) -> Job:
    return job if isinstance(job, Job) else Job(connected(), job)


def _script(script: str | os.PathLike[str]) -> tuple[str, str, Path]:
    """Name, text, and where its inputs are looked up: here, as sbatch does."""
    if isinstance(script, str) and script.startswith("#!"):
        return "notebook", script, Path.cwd()
    path = Path(script)
    return path.name, read_script(path), Path.cwd()


def _words(options: Mapping[str, object]) -> Sequence[str]:
    """``{"cpus_per_task": 4, "hold": True}`` → ``["--cpus-per-task=4", "--hold"]``; False and None are left out."""
    words = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words.append(f"{flag}={value}")
    return words
