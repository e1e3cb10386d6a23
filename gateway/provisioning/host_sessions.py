"""HostSessions: the inventory of hosts, and one SSH session with each, opened when it is needed and kept.

Invariant: a certificate is made for each session; a host that did not answer is left alone for a while, so that one
dead host does not keep all the others waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from gateway.errors import HostSilent, HostUnreachable, SshError
from gateway.provisioning.host_power import HostPower, NoPower
from gateway.ssh.authority import Authority
from gateway.ssh.session import Door, Session, connect

_LEFT_ALONE_S = 20.0
_ASLEEP_S = 60.0
"""A host whose power is switched is mostly silent because it is off."""
_CONNECT_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True)
class Host:
    """One host: its name in the settings, the size that it counts as, where it is, and what switches its power."""

    name: str
    size: str
    door: Door
    power: HostPower = field(default_factory=NoPower)
    boot_s: float = 1800.0
    """Seconds from power to an answer by SSH."""
    switch_off: bool = True
    """Whether it is switched off after a lease that it was switched on for."""

    @property
    def switched(self) -> bool:
        """Whether it can be switched on."""
        return not isinstance(self.power, NoPower)


@dataclass
class _Line:
    """What is known of the connection with a host."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held while something is changed on the host."""
    connecting: threading.Lock = field(default_factory=threading.Lock)
    session: Session | None = None
    trouble: SshError | None = None
    again_at: float = 0.0


class HostSessions:
    """Thread-safe. ``hosts``: unlike names."""

    def __init__(self, hosts: Sequence[Host], authority: Authority) -> None:
        self.hosts = tuple(hosts)
        self.choosing = threading.Lock()
        """Held while a free host is looked for and taken."""
        self._authority = authority
        self._lines = {host.name: _Line() for host in hosts}

    def held(self, host: Host) -> AbstractContextManager[object]:
        """Hold a host: nobody else of this process changes something on it meanwhile."""
        return self._lines[host.name].lock

    def session(self, host: Host) -> Session:
        """An open session. Raises HostUnreachable, HostKeyChanged, LoginRefused."""
        line = self._lines[host.name]
        with line.connecting:
            if line.session is None or not line.session.alive:
                line.session = self._connected(host)
                line.trouble = None
            return line.session

    def ask(self, host: Host, question: Callable[[Session], T]) -> T:
        """Ask something that changes nothing; a session that broke since is made anew. Raises SshError."""
        line = self._lines[host.name]
        if line.trouble is not None and time.monotonic() < line.again_at:
            raise line.trouble
        try:
            try:
                return question(self.session(host))
            except (HostUnreachable, HostSilent):
                if line.session is None:
                    raise  # it was a new one
                self._drop(line)
                return question(self.session(host))
        except SshError as error:
            self._drop(line)
            line.trouble = error
            line.again_at = time.monotonic() + (_ASLEEP_S if host.switched else _LEFT_ALONE_S)
            raise

    def forget(self, host: Host) -> None:
        """End the session with a host, and ask it anew the next time: it was switched off or on."""
        line = self._lines[host.name]
        self._drop(line)
        line.trouble = None

    def close(self) -> None:
        """End all sessions."""
        for line in self._lines.values():
            self._drop(line)

    def _connected(self, host: Host) -> Session:
        identity = self._authority.identity(host.door.user, f"burst/{host.name}", datetime.now(UTC))
        return connect(host.door, identity, timeout_s=_CONNECT_S)

    def _drop(self, line: _Line) -> None:
        session, line.session = line.session, None
        if session is not None:
            session.close()
