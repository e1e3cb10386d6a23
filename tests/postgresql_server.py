"""A real PostgreSQL server for tests, on a Unix socket in a folder of its own.

Invariant: it runs as nobody where the tests run as root, because PostgreSQL refuses root, and it ends with its block.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


@dataclass(frozen=True)
class PostgresqlServer:
    """A server below ``folder`` with the superuser "burst", whom it trusts."""

    folder: Path

    def url(self, name: str) -> str:
        """SQLAlchemy's URL of the database ``name``."""
        return f"postgresql+psycopg://burst@/{name}?host={self.folder}"

    def create(self, template: str = "template1") -> str:
        """A new database; returns its URL."""
        name = f"t{uuid.uuid4().hex}"
        admin = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        admin.dispose()
        return self.url(name)

    def start(self) -> None:
        """Returns when it answers."""
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "120", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """At once, as a power cut would."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def initialise(self) -> None:
        """Make its data folder."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        self._run("initdb", "-D", self._data, "-U", "burst", "-A", "trust", "--no-sync")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        user = "nobody" if os.geteuid() == 0 else None
        command = [str(_programs() / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/tmp")  # noqa: S108 - a folder that all can enter


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server that runs until the block ends; skips where PostgreSQL or psycopg is not installed."""
    if not find_spec("psycopg"):
        pytest.skip("psycopg is not installed")
    _programs()
    folder = Path(tempfile.mkdtemp(prefix="burst-pg-"))
    server = PostgresqlServer(folder)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        if (folder / "data/postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder)


@cache
def _programs() -> Path:
    """Debian keeps the server's programs in a folder for each release, which is on nobody's PATH."""
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    for folder in [*on_path, *reversed(debian)]:
        if (folder / "initdb").exists():
            return folder
    pytest.skip("PostgreSQL's initdb is not installed; Debian's package is postgresql")
