"""Database: transactions that are serialisable, from threads and processes, and a schema that is its migrations."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path

import pytest
import stamina
import stamina.instrumentation
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, update
from sqlalchemy.exc import DBAPIError, StatementError

from gateway.errors import DatabaseUnavailable, SetupError
from gateway.storage import migrations
from gateway.storage.columns import metadata
from gateway.storage.database import Database
from gateway.storage.tables import accounts, balances, ledger_entries, uploads

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

ADD_ONE_UNTIL = """
import sys
from sqlalchemy import select, update
from gateway.storage.columns import metadata
from gateway.storage.database import Database
from gateway.storage.tables import accounts
database = Database(sys.argv[1])
def add(connection):
    seen = connection.execute(select(accounts.c.overdraft_ucr).where(accounts.c.name == "system:issued")).scalar_one()
    connection.execute(update(accounts).where(accounts.c.name == "system:issued").values(overdraft_ucr=seen + 1))
for _ in range(50):
    database.transact(add)
"""


def overdraft(database: Database) -> int:
    with database.read() as connection:
        query = select(accounts.c.overdraft_ucr).where(accounts.c.name == "system:issued")
        return int(connection.execute(query).scalar_one())


def add_one(connection: Connection) -> None:
    seen = connection.execute(select(accounts.c.overdraft_ucr).where(accounts.c.name == "system:issued")).scalar_one()
    connection.execute(update(accounts).where(accounts.c.name == "system:issued").values(overdraft_ucr=seen + 1))


def test_threads_lose_no_update(database):
    """Reading and then writing from eight threads at once counts every one."""

    def count() -> None:
        for _ in range(10):
            database.transact(add_one)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert overdraft(database) == 80


def test_processes_lose_no_update(database):
    """So does doing it from four processes."""
    url = database.engine.url.render_as_string(hide_password=False)

    started = [subprocess.Popen([sys.executable, "-c", ADD_ONE_UNTIL, url]) for _ in range(4)]

    assert [process.wait() for process in started] == [0, 0, 0, 0]
    assert overdraft(database) == 200


def test_an_exception_takes_everything_back(database):
    """What was written before the exception is not there afterwards."""

    def fail(connection: Connection) -> None:
        add_one(connection)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        database.transact(fail)

    assert overdraft(database) == 0


def test_a_read_is_one_snapshot_and_writes_nothing(database):
    """What commits meanwhile is not seen; what a reader writes is refused or thrown away."""
    with database.read() as reader:
        before = reader.execute(select(accounts.c.overdraft_ucr).where(accounts.c.name == "system:issued")).scalar_one()
        database.transact(add_one)
        after = reader.execute(select(accounts.c.overdraft_ucr).where(accounts.c.name == "system:issued")).scalar_one()

    assert (before, after) == (0, 0)
    with contextlib.suppress(DBAPIError), database.read() as reader:
        reader.execute(update(accounts).values(overdraft_ucr=99))
    assert overdraft(database) == 1


def test_migrations_make_exactly_the_tables(database):
    """The migrated schema is the one that tables.py describes: names, columns, types, keys and checks."""
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        found = inspect(connection)
        for table in metadata.tables.values():
            checks = {check["name"] for check in found.get_check_constraints(table.name)}
            assert checks == {
                str(constraint.name)
                for constraint in table.constraints
                if "CheckConstraint" in type(constraint).__name__
            }


def test_migrating_again_changes_nothing(database):
    """Migration of an up-to-date database keeps what is in it."""
    database.transact(add_one)

    database.migrate()

    assert overdraft(database) == 1


def test_two_processes_may_migrate_a_new_file_at_once(tmp_path):
    """Starting two gateways on one new file makes one schema."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    code = f"from gateway.storage.database import Database; Database({url!r}).migrate()"

    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]

    assert [process.wait() for process in started] == [0, 0, 0]
    assert overdraft(Database(url)) == 0


def test_a_first_start_waits_for_another_one(tmp_path):
    """SQLite refuses the change to a write-ahead log at once while somebody writes; who starts second tries again."""
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refused = []

    def let_go(details):
        refused.append(str(details.caused_by))
        other.execute("ROLLBACK")

    stamina.instrumentation.set_on_retry_hooks([let_go])
    try:
        Database(f"sqlite:///{tmp_path / 'state.db'}").migrate()
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
        other.close()

    assert refused == ["database is locked"]


def test_the_file_is_private(tmp_path):
    """Nobody else can read the file with the password hashes, nor its log."""
    path = tmp_path / "state.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()

    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}

    assert modes == dict.fromkeys(modes, "0o600")
    assert "state.db" in modes


def test_a_database_in_memory_is_refused():
    """Each connection would see another one."""
    with pytest.raises(SetupError, match="must be a file"):
        Database("sqlite://")


def test_a_commit_is_synced_to_disk(tmp_path):
    """SQLite is told to sync at every commit and to enforce foreign keys."""
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")

    with database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }

    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_times_come_back_aware_and_to_the_microsecond(database):
    """A time of another zone comes back as the same instant in UTC."""
    paris = NOW.astimezone(timezone(timedelta(hours=2)))
    row = {"key": "k", "sha256": "0" * 64, "size": 1, "user_name": "ada", "at": paris}

    with database.begin() as connection:
        connection.execute(uploads.insert().values(**row))
        kept = connection.execute(select(uploads.c.at)).scalar_one()

    assert kept == NOW
    assert kept.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(database):
    """Nobody could say which instant it is."""
    row = {"key": "k", "sha256": "0" * 64, "size": 1, "user_name": "ada", "at": NOW.replace(tzinfo=None)}

    with pytest.raises(StatementError, match="without a time zone"), database.begin() as connection:
        connection.execute(uploads.insert().values(**row))


@pytest.mark.parametrize("statement", [update(ledger_entries).values(amount_ucr=1), ledger_entries.delete()])
def test_the_ledger_is_append_only_in_the_database_itself(database, statement):
    """An entry can be neither changed nor deleted, whoever asks."""
    with database.begin() as connection:
        connection.execute(accounts.insert().values(name="ada", kind="user"))
        connection.execute(balances.insert().values(account="ada", amount_ucr=0))
        facts = {"seq": 1, "txn": "t", "account": "ada", "amount_ucr": 5, "kind": "deposit", "memo": ""}
        connection.execute(ledger_entries.insert().values(**facts, at=NOW, prev_hash="0" * 64, hash="1" * 64))

    with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
        connection.execute(statement)


def test_a_wheel_would_hold_the_migrations():
    """The migrations are found as package data, wherever the package is."""
    folder = Path(migrations.__file__).parent
    assert (folder / "env.py").is_file()
    assert list((folder / "versions").glob("0001_*.py"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("my database", "no URL"),
        ("oracle2://host/name", "kind oracle2 are not supported"),
        ("mysql://host/name", "driver, MySQLdb, is not installed"),
    ],
)
def test_a_url_that_names_no_database_is_refused(url, said):
    """Text that is no URL, a kind that is unknown, a driver that is not there: one sentence each."""
    with pytest.raises(SetupError, match=said):
        Database(url)


def test_a_server_that_is_away_is_told_from_other_errors(tmp_path):
    """To a caller it is a reason to try again; to who starts a gateway it is where the server was looked for."""
    if not find_spec("psycopg"):
        pytest.skip("psycopg is not installed")
    database = Database(f"postgresql://ada:secret@/gateway?host={tmp_path}")

    with pytest.raises(DatabaseUnavailable, match="does not answer"), database.begin():
        pass
    with pytest.raises(DatabaseUnavailable), database.read():
        pass
    with pytest.raises(SetupError, match=r"ada:\*\*\*@/gateway.*No such file") as refused:
        database.require()
    assert "secret" not in str(refused.value)
