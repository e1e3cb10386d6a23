"""Notebook: the cell magic ``%%sbatch``, which submits a cell as a batch script.

Invariant: the words after ``%%sbatch`` are sbatch's options as typed, but for the magic's own two.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import HTML, display

from gateway.client.gateway import Submission
from gateway.client.job import Job, as_html, connected
from gateway.errors import BurstError, OptionError

_SHEBANG = "#!/bin/bash\n"


@dataclass(frozen=True)
class _Line:
    """The words after ``%%sbatch``."""

    options: tuple[str, ...]
    wait: bool
    into: str


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext gateway.client``: teach the notebook ``%%sbatch``."""
    shell.register_magic_function(_Sbatch(shell).submit, "cell", "sbatch")  # type: ignore[arg-type] # the decorator hides self


class _Sbatch:
    """The magic of one notebook. A first line ``#!`` of the script may be left out."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def submit(self, line: str, cell: str) -> Job | None:
        """Submit the cell as a batch script: %%sbatch [--wait] [--into NAME] [sbatch's options].

        The job is the cell's result, and the variable NAME's (default: job). --wait shows it until it has ended, then
        what it printed.
        """
        try:
            return self._run(_read(line), cell)
        except BurstError as error:
            # One line, as the commands say it; a trace of the gateway's own code would hide it.
            hint = f"; {error.hint}" if error.hint else ""
            raise UsageError(f"{error.detail}{hint}") from None

    def _run(self, line: _Line, cell: str) -> Job | None:
        script = cell if cell.startswith("#!") else _SHEBANG + cell
        gateway = connected()
        view = gateway.submit(Submission(script, "notebook", line.options, directory=Path.cwd()))
        job = Job(gateway, view.id if view.id is not None else view.burst_id)
        self._shell.push({line.into: job})
        if not line.wait:
            return job
        _follow(job)
        return None


def _follow(job: Job) -> None:
    shown = display(HTML(as_html(job.status())), display_id=True)
    job.wait(lambda view: shown.update(HTML(as_html(view))))
    print(job.logs(), end="")  # noqa: T201 - a cell's output


def _read(line: str) -> _Line:
    words, options, wait, into = iter(shlex.split(line)), [], False, "job"
    for word in words:
        if word == "--wait":
            wait = True
        elif word == "--into":
            into = _name(next(words, ""))
        else:
            options.append(word)
    return _Line(tuple(options), wait, into)


def _name(text: str) -> str:
    if not text.isidentifier():
        raise OptionError(f"--into: {text!r} is not a name", hint="%%sbatch --into job2 …", option="--into")
    return text
