"""LoginNode: Slurm's commands on a host of the site, over one SSH connection that is kept open.

Invariant: a command that may have run is never sent again by itself; a connection is opened anew only for one that
surely did not start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import HostUnreachable, SchedulerUnavailable, SshError
from gateway.ssh.authority import Identity
from gateway.ssh.session import Done, Door, Session, connect

MOST_BYTES = 64 << 20
"""Of one answer: the records of some 10,000 jobs in JSON."""
COMMAND_S = 60.0
_LOST_HINT = "Slurm may have acted on it: look the job up by its token before anything is sent again"
_AWAY_HINT = "the login node is down or refuses the gateway; it is tried again by itself"


class Commands(Protocol):
    """Where Slurm's commands can be run."""

    def run(self, argv: Sequence[str], data: bytes = b"") -> Done:
        """Run one with ``data`` as its stdin. Raises SchedulerUnavailable when it cannot be told how it ended."""


@dataclass
class LoginNode:
    """Implements ``Commands``; thread-safe. ``environment`` is what Slurm's commands need there, such as SLURM_CONF."""

    door: Door
    identity: Callable[[], Identity]
    """Made anew for each connection: certificates last minutes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    _session: Session | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, argv: Sequence[str], data: bytes = b"") -> Done:
        """Run a command there. Raises SchedulerUnavailable."""
        words = ["env", *(f"{name}={value}" for name, value in self.environment.items()), *argv]
        try:
            try:
                return self._run(self._open(), words, data)
            except HostUnreachable:
                # The connection was dead; nothing was run on it.
                return self._run(self._open(anew=True), words, data)
        except HostUnreachable as error:
            raise SchedulerUnavailable(error.detail, hint=_AWAY_HINT) from error
        except SshError as error:
            raise SchedulerUnavailable(error.detail, hint=error.hint or _LOST_HINT) from error

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            if self._session is not None:
                self._session.close()
            self._session = None

    def _run(self, session: Session, words: Sequence[str], data: bytes) -> Done:
        return session.run(words, data, timeout_s=COMMAND_S, most_bytes=MOST_BYTES)

    def _open(self, *, anew: bool = False) -> Session:
        with self._lock:
            if self._session is None or anew or not self._session.alive:
                if self._session is not None:
                    self._session.close()
                self._session = None  # stays so if the next line fails
                self._session = connect(self.door, self.identity())
            return self._session
