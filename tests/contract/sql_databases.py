"""Databases for the contract suites: SQLite always, PostgreSQL where its server and psycopg are installed.

Invariant: every test gets an empty, migrated database of its own, and no server outlives the test run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from gateway.storage.database import Database

NewDatabase = Callable[[], Database]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Makes databases, of each kind in turn."""
    new_url = request.getfixturevalue(f"{request.param}_url")
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(new_url()))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def database(new_database: NewDatabase) -> Database:
    """One database."""
    return new_database()


@pytest.fixture(scope="session")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes SQLite files by copying a migrated one."""
    folder = tmp_path_factory.mktemp("sqlite")
    template = Database(f"sqlite:///{folder / 'template.db'}")
    template.migrate()
    with template.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    template.close()

    def make() -> str:
        path = folder / f"{uuid.uuid4().hex}.db"
        shutil.copy(folder / "template.db", path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[Callable[[], str]]:
    """Makes PostgreSQL databases on a server of its own that listens on a Unix socket only."""
    if not (shutil.which("initdb") and importlib.util.find_spec("psycopg")):
        pytest.skip("PostgreSQL's initdb or psycopg is not installed")
    folder = Path(tempfile.mkdtemp(prefix="burst-pg-"))
    try:
        _start(folder)
        url = f"postgresql+psycopg://burst@/%s?host={folder}"
        admin = create_engine(url % "postgres", isolation_level="AUTOCOMMIT")

        def make() -> str:
            name = f"t{uuid.uuid4().hex}"
            with admin.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template1"))
            return url % name

        migrated = Database(url % "template1")
        migrated.migrate()
        migrated.close()
        yield make
        admin.dispose()
    finally:
        _pg("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _start(folder: Path) -> None:
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "nobody")
    _pg("initdb", "-D", str(folder / "data"), "-U", "burst", "-A", "trust", "--no-sync", check=True)
    options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=200"
    log = str(folder / "log")
    _pg("pg_ctl", "-D", str(folder / "data"), "-w", "-l", log, "-o", options, "start", check=True)


def _pg(*argv: str, check: bool = False) -> None:
    user = "nobody" if os.geteuid() == 0 else None
    subprocess.run(argv, check=check, stdout=subprocess.DEVNULL, user=user, cwd="/tmp")  # noqa: S108 - a folder that all can enter
