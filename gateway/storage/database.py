"""Database: one SQL database, its transactions and its schema; SQLite on one machine, PostgreSQL for a site.

Invariant: every write happens inside ``begin`` or ``transact``, a serialisable transaction that is on disk when it
returns. The writers of one process queue for it, so that none of them loses to another; on SQLite it holds the write
lock from its first statement, so nothing that it read can change beneath it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import stamina
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, literal, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from gateway.errors import Conflict, DatabaseUnavailable, SetupError

BUSY_S = 30
"""How long a writer waits for another, in seconds, before it gives up."""

T = TypeVar("T")

_RETRIED_SQLSTATES = frozenset({"40001", "40P01"})  # PostgreSQL appendix A: serialization_failure, deadlock_detected
_UNIQUE_VIOLATION = "23505"
# The keys of the ledger and of the audit log.
_CHAINED = ("pk_ledger_entries", "pk_audit_records", "_prev_hash")
_MIGRATION_LOCK = 0x62757273  # "burs": any constant that every gateway shares


class Database:
    """A database by its SQLAlchemy URL; safe to share between threads, and between processes by the same URL."""

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        self._sqlite = self._url.get_backend_name() == "sqlite"
        self._writer = threading.Lock()
        self.engine = self._open_sqlite() if self._sqlite else _open_server(self._url)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give a connection inside a write transaction; commit at the end, roll back on any exception.

        On PostgreSQL the commit may fail because a transaction of another process won; ``transact`` repeats those.
        Must not be nested. Raises ``Conflict`` when other writers of this process hold the lock for ``BUSY_S``, and
        ``DatabaseUnavailable``.
        """
        # SQLite lets waiting writers poll and PostgreSQL fails one of two; within one process they queue here instead.
        if not self._writer.acquire(timeout=BUSY_S):
            raise Conflict("The database is busy with another write.", hint="try again in a moment")
        try:
            with _saying_when_away(), self.engine.execution_options(burst_write=True).begin() as connection:
                yield connection
        finally:
            self._writer.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent snapshot; what it writes is rolled back.

        Raises ``DatabaseUnavailable``.
        """
        options = {} if self._sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with _saying_when_away(), self.engine.execution_options(**options).connect() as connection:
            yield connection

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Return ``work(connection)`` from one write transaction, repeated when a concurrent one won.

        ``work`` must touch nothing but the connection. After 20 lost rounds the database's own error is raised.
        """
        for attempt in stamina.retry_context(
            on=lost_a_race, attempts=20, timeout=BUSY_S, wait_initial=0.005, wait_max=0.25, wait_jitter=0.05
        ):
            with attempt, self.begin() as connection:
                return work(connection)
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def migrate(self) -> None:
        """Bring the schema to this release's; safe when several processes do it at once."""
        from alembic import command  # noqa: PLC0415 - a third of a second that readers need not pay
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", "gateway.storage:migrations")
        config.set_main_option("path_separator", "os")
        with self.begin() as connection:
            if not self._sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def require(self) -> None:
        """Try a connection. Raises SetupError that says where the database was looked for and what it answered."""
        try:
            with self.engine.connect():
                pass
        except DBAPIError as error:
            place = self._url.render_as_string(hide_password=True)
            raise SetupError(
                f"The database {place} cannot be used: {_first_line(error)}",
                hint="start it, or correct the setting database (docs/sysadmin.md, PostgreSQL)",
            ) from error

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    def _open_sqlite(self) -> Engine:
        if not self._url.database or self._url.database == ":memory:":
            raise SetupError("The gateway's database must be a file.", hint="give sqlite:///PATH, or leave it out")
        # Made before SQLite makes it, because it holds password hashes; the -wal and -shm files take its mode.
        Path(self._url.database).touch(mode=0o600)
        engine = create_engine(self._url, connect_args={"timeout": BUSY_S}, pool_size=16, max_overflow=64)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine


def insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert ``row`` unless one with the same key is there; whether it was new."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing().returning(literal(1))
    return connection.execute(statement, dict(row)).first() is not None


def lost_a_race(error: Exception) -> bool:
    """Whether ``error`` means that a concurrent transaction won and this one may simply be repeated."""
    if not isinstance(error, DBAPIError):
        return False
    cause: Any = error.orig
    if isinstance(cause, sqlite3.OperationalError):
        return cause.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    state = getattr(cause, "sqlstate", None)
    # Two writers that append to a chain at once want the same next row; PostgreSQL may call that a duplicate.
    return state in _RETRIED_SQLSTATES or (
        state == _UNIQUE_VIOLATION and str(cause.diag.constraint_name).endswith(_CHAINED)
    )


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SetupError(
            "The setting database is no URL of a database.", hint="such as postgresql+psycopg://USER@HOST/NAME"
        ) from error
    # psycopg is the driver that this project installs; SQLAlchemy's own default is its predecessor.
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _open_server(url: URL) -> Engine:
    try:
        return create_engine(url, isolation_level="SERIALIZABLE", pool_size=16, max_overflow=64, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise SetupError(
            f"The database's driver, {error.name}, is not installed.", hint="pip install 'burst-gateway[postgres]'"
        ) from error
    except NoSuchModuleError as error:
        raise SetupError(
            f"Databases of the kind {url.drivername} are not supported.", hint="use PostgreSQL, or leave it out"
        ) from error


@contextmanager
def _saying_when_away() -> Iterator[None]:
    """Tell a server that is away, or goes away, from every other error."""
    try:
        yield
    except OperationalError as error:
        state = getattr(error.orig, "sqlstate", None)
        # PostgreSQL appendix A: 08 connection exception, 57P01 to 57P03 shut down or starting; no state: no answer.
        if isinstance(error.orig, sqlite3.Error) or not (state is None or state.startswith(("08", "57P"))):
            raise
        raise DatabaseUnavailable(f"The database does not answer: {_first_line(error)}") from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).splitlines()[0].strip()


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _set_up_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: it would begin deferred ones (sqlite3, "Transaction control").
    connection.isolation_level = None
    # A new file's change to a write-ahead log waits for nobody (sqlite3_busy_handler), so two first starts may meet.
    for attempt in stamina.retry_context(
        on=_is_busy, attempts=None, timeout=BUSY_S, wait_initial=0.005, wait_max=0.25, wait_jitter=0.05
    ):
        with attempt:
            connection.execute("PRAGMA journal_mode=WAL")
    for pragma in ("synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_S * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options: dict[str, Any] = dict(connection.get_execution_options())
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("burst_write") else "BEGIN")
