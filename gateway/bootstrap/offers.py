"""Offers: bring the price book of a gateway's directory up to date, while it runs or not.

Invariant: the book is replaced whole, and only when all that was asked for has been read; the audit log is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.bootstrap.clock import utc_now
from gateway.bootstrap.machine import Progress
from gateway.errors import InvalidRequest
from gateway.identity.audit import Act
from gateway.provisioning.price_book import BOOK_FILE, BookFile, EgressPrice, MachinePrice, PriceBook
from gateway.provisioning.price_update import PriceUpdate, Updated
from gateway.settings import CloudSettings, Settings
from gateway.storage.database import Database
from gateway.storage.work import SqlWork


def update(directory: Path, names: Sequence[str], file: Path | None, progress: Progress) -> dict[str, Any]:
    """Ask the clouds of these names, or all; or read ``file``, which is one cloud's. Raises SetupError, CloudError."""
    settings = Settings.load(directory)
    clouds = _named(settings, names)
    if file is not None and len(clouds) != 1:
        raise InvalidRequest("A file has the prices of one cloud.", hint="say of which, with --cloud NAME")
    asker, book = PriceUpdate(settings, utc_now), BookFile(settings.directory / BOOK_FILE)
    known, results = book.read(), []
    for cloud in clouds:
        progress(f"reading {file}" if file else f"asking for the prices of {cloud.name}")
        results.append(asker.of(cloud, known, file))
    found = PriceBook()
    for result in results:
        found = found.with_(result.found)
    book.write(known.with_(found))
    _tell(settings, results)
    return {"book": str(settings.directory / BOOK_FILE), "clouds": [_facts(result) for result in results]}


def _named(settings: Settings, names: Sequence[str]) -> list[CloudSettings]:
    known = {cloud.name: cloud for cloud in settings.clouds}
    if unknown := [name for name in names if name not in known]:
        there = ", ".join(known) or "none but this computer"
        raise InvalidRequest(f"There is no cloud {unknown[0]}.", hint=f"there are {there}")
    if not known:
        raise InvalidRequest("There is no cloud whose prices could be asked for.", hint="docs/clouds.md adds one")
    return [known[name] for name in names or known]


def _facts(result: Updated) -> dict[str, Any]:
    lines: list[MachinePrice | EgressPrice] = [*result.found.machines.values(), *result.found.egress.values()]
    return {
        "cloud": result.cloud,
        "machines": len(result.found.machines),
        "egress": len(result.found.egress),
        "missing": list(result.missing),
        "trouble": result.trouble,
        "sources": sorted({line.source for line in lines}),
        "oldest": min((line.as_of.isoformat() for line in lines), default=None),
    }


def _tell(settings: Settings, results: Sequence[Updated]) -> None:
    """Into the audit log, if there is a gateway already."""
    url = settings.database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return
    database = Database(url)
    try:
        database.migrate()
        with database.begin() as connection:
            for result in results:
                text = f"the owner of the directory updated {len(result.found.machines)} prices of machines"
                SqlWork(connection).audit.tell(
                    Act("gateway", "offers.update", f"cloud:{result.cloud}", text), utc_now()
                )
    finally:
        database.close()
