"""HostNotes: what a gateway remembers of its hosts between two looks and two runs, a file for each.

Invariant: what a note says was intended is written before it is done, whole or not at all; the file may hold a
one-time token, so nobody else may read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from gateway.provisioning.host_lease import HostLease


class Stage(StrEnum):
    """How far a host is, as this gateway knows it."""

    LEASED = "leased"
    """Its lease is on it, or is just being put there."""
    WAKING = "waking"
    """It is switched on for a lease that will then be put on it."""
    FAILED = "failed"
    """It did not come up; its lease is to be ended."""
    GOING = "going"
    """It is put back as it was, and then switched off."""
    UNFIT = "unfit"
    """It has no lease and gets none: it did not come up, or has less than its size promises."""


@dataclass(frozen=True)
class Note:
    """``lease`` is None for UNFIT alone; ``why``: what went wrong last on an errand, "" if nothing."""

    stage: Stage
    since: datetime
    lease: HostLease | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """What the agent is to be started from, until it is."""
    reached: bool = False
    """The host has answered since it was switched on: something of ours may be on it."""
    why: str = ""
    unfit: str = ""
    """Why it gets no lease for now, once it is free again."""
    until: datetime | None = None
    """An UNFIT host is tried again then; None: once somebody has looked (`burst hosts check`)."""
    promise: str = ""
    """What an UNFIT host was measured by; once the settings promise something else it is measured anew."""

    @property
    def holds(self) -> bool:
        """Whether the host is in this gateway's hands without an answer of its own."""
        return self.stage in {Stage.WAKING, Stage.FAILED, Stage.GOING}

    def to(self, stage: Stage, why: str = "", **changed: object) -> Note:
        """The same, one stage on."""
        return replace(self, stage=stage, since=datetime.now(UTC), why=why, **changed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class HostNotes:
    """The notes below ``folder``. Thread-safe for unlike hosts."""

    folder: Path

    def read(self, host: str) -> Note | None:
        """The note of a host; None if there is none that can be read."""
        try:
            kept = json.loads(self._file(host).read_text())
            lease = HostLease.of(kept["lease"]) if kept["lease"] else None
            times = {name: _time(kept[name]) for name in ("since", "until")}
            return Note(**{**kept, **times, "stage": Stage(kept["stage"]), "lease": lease})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def write(self, host: str, note: Note) -> None:
        """Keep it; it is on the disk when this returns."""
        kept = {**asdict(note), "lease": note.lease.facts if note.lease else None}
        kept |= {
            name: time.isoformat() if time else None for name, time in (("since", note.since), ("until", note.until))
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._file(host).with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(json.dumps(kept))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file(host))

    def drop(self, host: str) -> None:
        """Forget it."""
        self._file(host).unlink(missing_ok=True)

    def unfit(self, host: str, promise: str) -> str:
        """Why it gets no lease now; "" if it may have one."""
        note = self.read(host)
        if note is None or note.stage is not Stage.UNFIT:
            return ""
        over = note.promise != promise if note.until is None else datetime.now(UTC) >= note.until
        return "" if over else note.unfit

    def _file(self, host: str) -> Path:
        return self.folder / f"{host}.json"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
