"""Audit of a gateway's database where it lies, whether the gateway runs or not.

Invariant: it reads only; nothing of the gateway is started or asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.errors import SetupError
from gateway.service.audit import verify
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.work import SqlWork
from gateway.work import Work


def audit(directory: Path, known: str | None) -> dict[str, Any]:
    """Follow the chains of the audit log and of the ledger. Raises AuditBroken, LedgerBroken, SetupError."""
    settings = Settings.load(directory)
    url = settings.database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise SetupError(f"There is no gateway in {directory}.", hint="name its directory with --dir")
    database = Database(url)

    @contextmanager
    def reads() -> Iterator[Work]:
        with database.read() as connection:
            yield SqlWork(connection)

    try:
        database.require()
        return verify(reads, known).model_dump()
    finally:
        database.close()
