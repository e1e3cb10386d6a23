"""Daemon: a process that outlives the one that started it and is found again by its pid file.

Invariant: a pid is trusted only together with the start time of its process (field 22 of proc_pid_stat(5)),
so a pid that the kernel has given to somebody else is never signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import SetupError

_TICK_S = 0.02
_KILLED_WITHIN_S = 10.0
"""A killed process cannot refuse, but the kernel may take a while to take its threads and memory apart."""


@dataclass(frozen=True)
class Daemon:
    """One named background process, its pid file ``run/NAME.pid`` and its log."""

    name: str
    run: Path
    log: Path

    @property
    def pid_file(self) -> Path:
        """Where ``pid start_time`` is kept."""
        return self.run / f"{self.name}.pid"

    def pid(self) -> int | None:
        """The live process's pid, or None when there is none."""
        try:
            number, started = self.pid_file.read_text().split()
            pid = int(number)
        except (FileNotFoundError, ValueError):
            return None
        # To kill(2), 0 and -1 are not processes but many of them.
        return pid if pid > 1 and start_time(pid) == started else None

    def alive(self) -> bool:
        """Whether the process that the pid file names is the one that runs."""
        return self.pid() is not None

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
        """Start it in a session of its own, unless it runs already; return its pid."""
        if (pid := self.pid()) is not None:
            return pid
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        self.adopt(process.pid)
        return process.pid

    def adopt(self, pid: int) -> None:
        """Record ``pid`` as this daemon's process."""
        started = start_time(pid)
        if started is None:
            raise SetupError(f"{self.name} ended at once", hint=f"read {self.log}: {self.last_words()}")
        temporary = self.pid_file.with_suffix(f".{os.getpid()}")
        temporary.write_text(f"{pid} {started}")
        temporary.replace(self.pid_file)

    def stop(self, *, grace_s: float = 10.0, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, by force after ``grace_s`` seconds, and wait until it is gone."""
        pid = self.pid()
        if pid is not None:
            _signal(pid, how)
            if not self._gone(pid, grace_s):
                _signal(pid, signal.SIGKILL)
                self._gone(pid, _KILLED_WITHIN_S)
        self.pid_file.unlink(missing_ok=True)

    def collect(self, *, within_s: float = 1.0) -> None:
        """Leave no zombie of it: wait for its end, which somebody else brings about, if this process started it."""
        try:
            pid = int(self.pid_file.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        deadline = time.monotonic() + within_s
        while _is_child(pid) and time.monotonic() < deadline:
            reap(pid)
            time.sleep(_TICK_S)

    def last_words(self, lines: int = 3) -> str:
        """The end of its log, for an error message."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return " | ".join(line.strip() for line in text.splitlines()[-lines:])

    def _gone(self, pid: int, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.pid() is None:
                reap(pid)
                return True
            time.sleep(_TICK_S)
        return False


def start_time(pid: int) -> str | None:
    """Start time of a live process in clock ticks since boot; None for one that is gone or a zombie.

    A killed process is a zombie before the last of its threads has ended, and until then its sockets still listen:
    it counts as live (num_threads, field 20).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name, in parentheses, may itself hold blanks and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return None if ended else fields[19]


def reap(pid: int) -> None:
    """Collect ``pid`` if it is an ended child of this process, so that no zombie is left."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _is_child(pid: int) -> bool:
    try:
        return f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _signal(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
