"""Databases for the contract suites: SQLite always, PostgreSQL where its server and psycopg are installed.

Invariant: every test gets an empty, migrated database of its own, and no server outlives the test run.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator

import pytest
from postgresql_server import postgresql_server

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
    """Makes migrated PostgreSQL databases on a server of its own."""
    with postgresql_server() as server:
        migrated = Database(server.url("template1"))
        migrated.migrate()
        migrated.close()
        yield server.create
