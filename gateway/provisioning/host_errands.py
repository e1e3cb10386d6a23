"""HostErrands: what takes minutes on a host and goes on by itself: waking it for a lease, and putting it back.

Invariant: an errand is a note on the disk before it begins, every step may be cut off and done again, and a host has
one errand at a time; a host is switched off only if it was switched on for the lease and nobody else has it now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from gateway.errors import BurstError, HostKeyChanged, HostUnreachable, LoginRefused, SshError
from gateway.provisioning import host_lease
from gateway.provisioning.host_lease import NotToBeHad, TooLittle
from gateway.provisioning.host_notes import HostNotes, Note, Stage
from gateway.provisioning.host_power import (
    SHUTDOWN_S,
    SWITCH_S,
    PowerError,
    PowerRefused,
    PowerSilent,
    PowerState,
    PowerStuck,
    confirm,
)
from gateway.provisioning.host_sessions import Host, HostSessions
from gateway.provisioning.node import Size
from gateway.ssh.session import Session

log = structlog.get_logger(__name__)

REST = timedelta(minutes=10)
"""A host that did not come up is not woken again before that."""


_PACKET_S = 30.0
"""A host that was just shutting down hears a magic packet only later."""


@dataclass(frozen=True)
class Patience:
    """Seconds. ``login``: for what a booting host says before its own sshd does; ``again``: after a failed errand."""

    switch: float = SWITCH_S
    shutdown: float = SHUTDOWN_S
    look: float = 2.0
    login: float = 120.0
    silent: float = 300.0
    """A host that we woke, that is on and that does not answer for so long, is switched off and on."""
    again: float = 30.0
    power: float = 60.0
    """What switches a host's power and did not answer is not asked again before that."""


@dataclass
class HostErrands:
    """Runs errands in threads of their own. Thread-safe. ``sizes``: what hosts promise, by name."""

    sessions: HostSessions
    notes: HostNotes
    sizes: Mapping[str, Size]
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Thread] = {}
        self._again_at: dict[str, float] = {}
        self._powerless: dict[str, tuple[float, PowerError]] = {}

    def tend(self) -> None:
        """Go on with every errand that a note asks for, such as those of a gateway that was killed."""
        for host in self.sessions.hosts:
            note = self.notes.read(host.name)
            if note is not None and note.stage in {Stage.WAKING, Stage.GOING}:
                self.begin(host)

    def begin(self, host: Host) -> None:
        """Begin what the host's note asks for, unless that is under way or failed a moment ago."""
        with self._lock:
            thread = self._under_way.get(host.name)
            if (thread is not None and thread.is_alive()) or time.monotonic() < self._again_at.get(host.name, 0.0):
                return
            thread = threading.Thread(target=self._run, args=(host,), name=f"errand {host.name}", daemon=True)
            self._under_way[host.name] = thread
            thread.start()

    def power(self, host: Host) -> PowerState:
        """Read its power; what did not answer is not asked again at once. Raises PowerError."""
        until, error = self._powerless.get(host.name, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise error
        try:
            return host.power.state()
        except PowerError as error:
            self._powerless[host.name] = time.monotonic() + self.patience.power, error
            raise

    def _run(self, host: Host) -> None:
        # One errand may give way to the other: a node that is ended while its host still boots.
        while (note := self.notes.read(host.name)) is not None and note.stage in {Stage.WAKING, Stage.GOING}:
            try:
                self._wake(host, note) if note.stage is Stage.WAKING else self._put_back(host, note)
            except Exception as error:
                if not isinstance(error, BurstError):
                    log.exception("a host's errand broke off", host=host.name)
                self._failed(host, note, error)
                if note.stage is Stage.GOING:
                    self._again_at[host.name] = time.monotonic() + self.patience.again
                    return

    def _failed(self, host: Host, note: Note, error: Exception) -> None:
        why = error.detail if isinstance(error, BurstError) else f"{type(error).__name__}: {error}"
        log.warning("host", host=host.name, errand=note.stage.value, error=why)
        with self.sessions.held(host):
            if not self._stands(host, note):
                return
            if note.stage is Stage.GOING:
                self.notes.write(host.name, replace(self.notes.read(host.name) or note, why=why))
                return
            short = isinstance(error, TooLittle)
            until = None if short else datetime.now(UTC) + REST
            now = self.notes.read(host.name) or note
            self.notes.write(
                host.name,
                now.to(Stage.FAILED, why, files={}, unfit=why, until=until, promise=promise_of(self.sizes[host.size])),
            )

    def _stands(self, host: Host, note: Note) -> bool:
        """Whether the note still asks for the same."""
        now = self.notes.read(host.name)
        return now is not None and (now.stage, now.lease) == (note.stage, note.lease)

    def _wake(self, host: Host, note: Note) -> None:
        assert note.lease is not None  # noqa: S101 - only UNFIT has none
        self._switch_on(host)
        deadline = note.since + timedelta(seconds=host.boot_s)
        session = self._answering(host, note, deadline)
        if session is None:
            return
        with self.sessions.held(host):
            if not self._stands(host, note):
                return
            host_lease.require(session, self.sizes[host.size])
            reached = replace(note, reached=True)
            self.notes.write(host.name, reached)
            found = host_lease.look(session)
            if found is None:
                host_lease.take(session, note.lease)
            elif found[0].id != note.lease.id:
                raise NotToBeHad("it has a lease")
            host_lease.begin(session, note.files)
            log.info("host", host=host.name, now="leased", node=note.lease.node)
            self.notes.write(host.name, reached.to(Stage.LEASED, files={}))

    def _switch_on(self, host: Host) -> None:
        with suppress(PowerSilent):  # the reading says what came of it
            host.power.on()
        if host.power.tells:
            confirm(host.power, PowerState.ON, self.patience.switch, look_s=self.patience.look)
        log.info("host", host=host.name, now="switched on")

    def _answering(self, host: Host, note: Note, deadline: datetime) -> Session | None:
        """A session as soon as there is one; None if the note asks for something else by then. Raises SshError."""
        refused_at: float | None = None
        woken_at = time.monotonic()
        while self._stands(host, note):
            if not host.power.tells and time.monotonic() - woken_at > _PACKET_S:
                host.power.on()
                woken_at = time.monotonic()
            try:
                return self.sessions.session(host)
            except (HostKeyChanged, LoginRefused):
                refused_at = refused_at or time.monotonic()
                if time.monotonic() - refused_at > self.patience.login:
                    raise
            except SshError as error:
                if datetime.now(UTC) >= deadline:
                    why = f"it was switched on and did not answer by SSH within {host.boot_s:g} s"
                    raise HostUnreachable(f"{why}: {error.detail}") from None
            time.sleep(self.patience.look)
        return None

    def _put_back(self, host: Host, note: Note) -> None:
        assert note.lease is not None  # noqa: S101
        if note.reached:
            self._release(host, note)
        if note.lease.woken and host.switch_off:
            self._switch_off(host)
        with self.sessions.held(host):
            if note.unfit:
                self.notes.write(host.name, note.to(Stage.UNFIT, lease=None, files={}, reached=False))
            else:
                self.notes.drop(host.name)
        log.info("host", host=host.name, now="put back", node=note.lease.node)

    def _release(self, host: Host, note: Note) -> None:
        assert note.lease is not None  # noqa: S101
        try:
            session = self._open(host)
        except HostUnreachable:
            if not (note.lease.woken and host.power.tells and self._revived(host, note)):
                raise
            session = self._open(host)
        with self.sessions.held(host):
            host_lease.release(session, note.lease.id)
            self.notes.write(host.name, replace(note, reached=False))

    def _open(self, host: Host) -> Session:
        """A session that answers: a host that lost its power closes none."""
        self.sessions.forget(host)
        return self.sessions.session(host)

    def _revived(self, host: Host, note: Note) -> bool:
        """Have a host that we woke boot again, so that our files can be removed from it; whether it answers."""
        silent_s = (datetime.now(UTC) - note.since).total_seconds()
        if host.power.state() is PowerState.OFF:
            self._switch_on(host)
        elif silent_s > self.patience.silent:
            host.power.cut()
            confirm(host.power, PowerState.OFF, self.patience.switch, look_s=self.patience.look)
            self._switch_on(host)
        else:
            return False
        return self._answering(host, note, datetime.now(UTC) + timedelta(seconds=host.boot_s)) is not None

    def _switch_off(self, host: Host) -> None:
        if host.power.tells and host.power.state() is PowerState.OFF:
            return
        try:
            session = self._open(host)
            if host_lease.look(session) is not None:
                return  # somebody else's by now
            host_lease.shut_down(session)
        except SshError as error:
            if not host.power.tells and isinstance(error, HostUnreachable):
                return  # off, as far as anybody can tell
            if not host.power.tells:
                raise
            with suppress(PowerRefused, PowerSilent):
                host.power.off()
        finally:
            self.sessions.forget(host)
        self._wait_for_off(host)

    def _wait_for_off(self, host: Host) -> None:
        if not host.power.tells:
            self._wait_for_silence(host)
            return
        try:
            confirm(host.power, PowerState.OFF, self.patience.shutdown, look_s=self.patience.look)
        except PowerStuck:
            with suppress(PowerSilent):
                host.power.cut()
            confirm(host.power, PowerState.OFF, self.patience.switch, look_s=self.patience.look)

    def _wait_for_silence(self, host: Host) -> None:
        deadline = time.monotonic() + self.patience.shutdown
        while time.monotonic() < deadline:
            try:
                self._open(host)
            except SshError:
                return
            time.sleep(self.patience.look)
        raise PowerStuck(f"it still answers {self.patience.shutdown:g} s after it was asked to switch itself off")


def promise_of(size: Size) -> str:
    """What a host of a size must have, in words."""
    return f"{size.cores} cores, {size.memory_mb} MiB, {size.gpus} GPUs"
