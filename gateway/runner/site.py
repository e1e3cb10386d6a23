"""Site: where slurmctld's own programs reach the gateway, a spool folder and a Unix socket beside it.

Invariant: a request is removed from the spool only after the database has it. The socket only wakes and waits:
losing it loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.provisioning.wishes import JobNodes
from gateway.slurm.hostlists import expand

WAIT_SLICE_S = 1.0
"""A waiting program is looked at this often, so that one that went away is forgotten."""


@dataclass(frozen=True)
class SpooledRequest:
    """One call of ResumeProgram, SuspendProgram or ResumeFailProgram."""

    program: str
    nodes: tuple[str, ...]
    path: Path
    jobs: tuple[JobNodes, ...] = ()
    """For which jobs, as far as slurmctld said."""

    def done(self) -> None:
        """Forget it: its effect is stored."""
        self.path.unlink(missing_ok=True)


def spooled(folder: Path) -> Iterator[SpooledRequest]:
    """The requests that wait in the spool, in the order they came; an unreadable one is set aside."""
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text())
            nodes = expand(document["nodes"])
            request = SpooledRequest(document["program"], nodes, path, _jobs(document.get("resume_file")))
        except (ValueError, KeyError, TypeError):
            path.rename(path.with_suffix(".unreadable"))
        else:
            yield request


def _jobs(resume_file: object) -> tuple[JobNodes, ...]:
    """The jobs of SLURM_RESUME_FILE; one that cannot be read keeps no node from being made."""
    jobs = resume_file.get("jobs") if isinstance(resume_file, dict) else None
    found = []
    for job in jobs if isinstance(jobs, list) else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found.append(JobNodes(int(job["job_id"]), _hosts(job, "nodes_alloc"), _hosts(job, "nodes_resume")))
    return tuple(found)


def _hosts(job: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(expand(job.get(key) or ""))


class NodesReady:
    """Lets the PrologSlurmctld of a job wait, without polling, until all its nodes are usable, or one is given up.

    A job that Slurm requeued may not start again before its PrologSlurmctld has ended.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._usable: frozenset[str] = frozenset()
        self._given_up: Counter[str] = Counter()

    def publish(self, usable: frozenset[str], given_up: frozenset[str] = frozenset()) -> None:
        """Tell the waiting what is usable now, and what was on its way until now and is so no more."""
        with self._changed:
            if usable != self._usable or given_up:
                self._usable = usable
                self._given_up.update(given_up)
                self._changed.notify_all()

    def lives(self, nodes: frozenset[str]) -> Mapping[str, int]:
        """What ``outcome`` compares with: how often each was given up before."""
        with self._changed:
            return {name: self._given_up[name] for name in nodes}

    def wait(self, nodes: frozenset[str], timeout_s: float) -> bool:
        """Whether all of ``nodes`` became usable within ``timeout_s`` seconds."""
        return self.outcome(self.lives(nodes), timeout_s) is True

    def outcome(self, lives: Mapping[str, int], timeout_s: float) -> bool | None:
        """Whether all nodes became usable within ``timeout_s`` seconds; None: one was given up since ``lives``."""

        def lost() -> bool:
            return any(self._given_up[name] != known for name, known in lives.items())

        with self._changed:
            self._changed.wait_for(lambda: lives.keys() <= self._usable or lost(), timeout_s)
            return True if lives.keys() <= self._usable else None if lost() else False


class SiteServer(socketserver.ThreadingUnixStreamServer):
    """Answers on the socket: one JSON line in, for a wait one JSON line out.

    Only the socket's owner may connect to it; that is what proves the caller (unix(7), "Pathname socket ownership
    and permissions"). ``owner`` is the uid of a site's SlurmUser; else it is this process's own.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, ready: NodesReady, wake: Callable[[], None], *, owner: int = -1) -> None:
        path.unlink(missing_ok=True)
        self.ready = ready
        self.wake = wake
        before = os.umask(0o177)  # from its first moment on it is closed to others
        try:
            super().__init__(str(path), _Line)
        finally:
            os.umask(before)
        os.chown(path, owner, -1)


class _Line(socketserver.StreamRequestHandler):
    server: SiteServer

    def handle(self) -> None:
        try:
            request = json.loads(self.rfile.readline(65536))
            program, nodes = request["program"], frozenset(expand(request.get("nodes", "")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self.server.wake()
        if program == "wait":
            self._wait(nodes)

    def _wait(self, nodes: frozenset[str]) -> None:
        self.connection.setblocking(False)
        lives = self.server.ready.lives(nodes)
        while (ready := self.server.ready.outcome(lives, WAIT_SLICE_S)) is False:
            if self._hung_up():
                return
        self.connection.setblocking(True)
        with contextlib.suppress(OSError):  # it went away at the last moment
            self.wfile.write(json.dumps({"ready": bool(ready)}).encode() + b"\n")

    def _hung_up(self) -> bool:
        try:
            return not self.connection.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True
