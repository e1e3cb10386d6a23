"""Serve: the gateway's own process, from adopting the machine's parts to a clean end on SIGTERM.

Invariant: one process a directory (a lock that the kernel lets go of when it dies); readiness is told by a file that
names this process.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvicorn

from gateway.api.app import create_app
from gateway.bootstrap.assemble import Assembled, assemble
from gateway.bootstrap.machine import Machine
from gateway.bootstrap.presence import READY_FILE, gateway_daemon, only_one, password_file
from gateway.bootstrap.secret_file import kept
from gateway.bootstrap.supervisor import take_socket, tell_ready
from gateway.errors import BurstError, SetupError
from gateway.identity.passwords import make_password
from gateway.identity.users import Role
from gateway.settings import CREDIT, Settings
from gateway.storage.database import Database
from gateway.storage.identity import SqlIdempotency, SqlNonces
from gateway.storage.institutions import SqlIdentities
from gateway.storage.passkeys import SqlPasskeys
from gateway.storage.sign_ins import SqlBrowsers, SqlDevices
from gateway.web.app import add_web

log = structlog.get_logger(__name__)

HEAL_EVERY_S = 1.0
FORGET_EVERY_S = 600.0
_LAST_THREAD_S = 5.0


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises SetupError."""
    supervisor = take_socket()
    # A gateway that was killed a moment ago keeps the lock until its last thread is gone.
    with only_one(settings.run_dir, within_s=_LAST_THREAD_S):
        # Who started this with `up` has recorded it; in the foreground nobody has.
        gateway_daemon(settings).adopt(os.getpid())
        machine = Machine.existing(settings) or Machine.prepare(settings, log.info)
        machine.start(log.info)
        parts = assemble(settings, machine)
        _first_users(settings, parts)
        with _running(parts, machine):
            _listen(settings, machine, parts, supervisor)


def _first_users(settings: Settings, parts: Assembled) -> None:
    for name, role, credit in (("admin", Role.ADMIN, 0), ("demo", Role.USER, int(settings.demo_credits * CREDIT))):
        password = kept(password_file(settings, name), lambda: make_password().encode()).decode()
        parts.gateway.people.add_user(name, role, password, credit)


@contextmanager
def _running(parts: Assembled, machine: Machine) -> Iterator[None]:
    ended = threading.Event()
    threads = [
        threading.Thread(target=parts.site.serve_forever, name="site", daemon=True),
        threading.Thread(target=_heal, args=(machine, ended), name="heal", daemon=True),
        threading.Thread(target=_forget, args=(parts.database, ended), name="forget", daemon=True),
    ]
    for thread in threads:
        thread.start()
    parts.nodes.start()
    parts.jobs.start()
    parts.job_keys.start()
    parts.budgets.start()
    parts.minimum.start()
    if parts.arrivals is not None:
        parts.arrivals.start()
    try:
        yield
    finally:
        ended.set()
        if parts.arrivals is not None:
            parts.arrivals.stop()
        parts.site.shutdown()
        parts.job_keys.stop()
        parts.minimum.stop()
        parts.budgets.stop()
        parts.jobs.stop()
        parts.nodes.stop()
        for thread in threads:
            thread.join()
        parts.site.server_close()
        parts.database.close()


def _heal(machine: Machine, ended: threading.Event) -> None:
    while not ended.wait(HEAL_EVERY_S):
        try:
            if died := machine.heal():
                log.warning("restarted", daemons=died)
        except BurstError as error:
            log.warning("not healed", error=error.detail)
        except Exception:
            log.exception("not healed")


def _forget(database: Database, ended: threading.Event) -> None:
    """Drop nonces, answers and sign-ins that can do nothing any more."""
    while not ended.wait(FORGET_EVERY_S):
        try:
            with database.begin() as connection:
                SqlNonces(connection).forget(datetime.now(UTC))
                SqlIdempotency(connection).forget(datetime.now(UTC))
                SqlDevices(connection).forget(datetime.now(UTC))
                SqlPasskeys(connection).forget(datetime.now(UTC))
                SqlIdentities(connection).forget(datetime.now(UTC))
                SqlBrowsers(connection).forget(datetime.now(UTC))
        except Exception:
            log.exception("nothing forgotten")


def _listen(settings: Settings, machine: Machine, parts: Assembled, supervisor: str | None) -> None:
    sockets = [_bound(address, machine.port) for address in machine.addresses]
    app = create_app(parts.gateway)
    add_web(app, parts.gateway)
    # Without a proxy nobody on this machine may name another address than their own, in X-Forwarded-For.
    proxied = settings.public_url is not None
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5, proxy_headers=proxied)
    server = _Announcing(config, settings.run_dir / READY_FILE, {"pid": os.getpid(), "url": machine.url}, supervisor)
    server.run(sockets=sockets)


class _Announcing(uvicorn.Server):
    """A server that says in a file, and to its supervisor, that it is ready."""

    def __init__(self, config: uvicorn.Config, file: Path, facts: dict[str, object], supervisor: str | None) -> None:
        super().__init__(config)
        self._file = file
        self._facts = facts
        self._supervisor = supervisor

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as a wish to end; uvicorn would raise them again, past our own ending."""
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._facts))
        temporary.replace(self._file)
        tell_ready(self._supervisor)


def _bound(address: str, port: int) -> socket.socket:
    # Named, or asyncio does not see that it is TCP and leaves Nagle's algorithm on: 40 ms for each answer.
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((address, port))
    except OSError as error:
        raise SetupError(
            f"Port {port} of {address} is not free: {error.strerror}.", hint="burst up --set port=N chooses another"
        ) from error
    opened.listen(2048)
    return opened
