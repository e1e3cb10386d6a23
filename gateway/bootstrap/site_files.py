"""What an installation changes of a site's files, and the manifest by which each is given back to the byte.

Invariant: a file's bytes of before are on disk, under their digest, before the file changes; each file changes whole or
not at all, and keeps its owner and mode.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_NEW_MODE = 0o644


@dataclass(frozen=True)
class Change:
    """One file of the site: its bytes now and then; None where there is none. ``like``: whose mode a new one has."""

    path: Path
    before: bytes | None
    after: bytes | None
    like: Path | None = None

    def diff(self) -> Iterator[str]:
        """As diff -u has it."""
        old, new = (_lines(text) for text in (self.before, self.after))
        gone, made = (str(self.path) if text is not None else "/dev/null" for text in (self.before, self.after))
        for line in difflib.unified_diff(old, new, gone, made):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"

    def make(self) -> None:
        """Write it whole, or remove it; a file that was there keeps its owner, mode and attributes."""
        if self.after is None:
            self.path.unlink(missing_ok=True)
        else:
            model = self.path if self.path.exists() else self.like
            _write(self.path, self.after, model if model and model.exists() else None)

    def undo(self) -> None:
        """Make it as it was."""
        Change(self.path, self.after, self.before, self.like).make()


@dataclass(frozen=True)
class Was:
    """A file before the installation, and what the installation left there. Digests are SHA-256."""

    path: str
    sha256: str | None
    """None: there was no file."""
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    after: str | None


class Manifest:
    """The files of one installation, in ``folder`` of the gateway's directory, with the bytes of before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "manifest.json"

    @property
    def entries(self) -> Mapping[Path, Was]:
        """File → what it was; empty without an installation."""
        if not self._file.exists():
            return {}
        document = json.loads(self._file.read_text())
        return {Path(entry["path"]): Was(**entry) for entry in document["files"]}

    def keep(self, changes: Iterable[Change]) -> None:
        """Note what is about to change; a file that an earlier installation changed keeps its first bytes."""
        known = dict(self.entries)
        for change in changes:
            after = None if change.after is None else _digest(change.after)
            first = known.get(change.path) or self._was(change)
            known[change.path] = Was(**{**asdict(first), "after": after})
        self._store(known)

    def before(self, was: Was) -> bytes | None:
        """The bytes that a file had; None where there was none."""
        return None if was.sha256 is None else (self._folder / _copy_name(was)).read_bytes()

    def is_as_left(self, was: Was) -> bool:
        """Whether the file has what the installation wrote."""
        path = Path(was.path)
        return path.exists() and _digest(path.read_bytes()) == was.after

    def is_as_before(self, was: Was, text: bytes | None) -> bool:
        """Whether these are the bytes of before."""
        return (None if text is None else _digest(text)) == was.sha256

    def dress(self, was: Was) -> None:
        """Give a file that is back its owner, mode and time of before."""
        path = Path(was.path)
        os.chown(path, was.uid, was.gid)
        path.chmod(was.mode)
        os.utime(path, ns=(was.mtime_ns, was.mtime_ns))

    def set_aside(self, path: Path) -> Path:
        """Keep what somebody made of a file that goes; where it lies."""
        kept = self._folder / f"edited-{path.name}"
        _write(kept, path.read_bytes(), None)
        return kept

    def forget(self) -> None:
        """Nothing is installed any more; copies stay."""
        self._file.unlink(missing_ok=True)

    def back_to(self, entries: Mapping[Path, Was]) -> None:
        """As it was before ``keep``."""
        self._store(entries) if entries else self.forget()

    def _was(self, change: Change) -> Was:
        if change.before is None:
            return Was(str(change.path), None, _NEW_MODE, 0, 0, 0, None)
        status = change.path.stat()
        digest = _digest(change.before)
        was = Was(
            str(change.path), digest, status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns, None
        )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self._folder / _copy_name(was), change.before, None, mode=0o600)
        return was

    def _store(self, entries: Mapping[Path, Was]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = {"files": [asdict(was) for was in entries.values()]}
        _write(self._file, json.dumps(document, indent=1).encode(), None)


def _write(path: Path, text: bytes, model: Path | None, *, mode: int = _NEW_MODE) -> None:
    temporary = path.with_name(f".{path.name}.burst")
    with temporary.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(mode)
    if model is not None:
        status = model.stat()
        shutil.copystat(model, temporary)
        os.chown(temporary, status.st_uid, status.st_gid)
        temporary.chmod(status.st_mode & 0o7777)
        os.utime(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy_name(was: Was) -> str:
    return f"{Path(was.path).name}-{(was.sha256 or '')[:16]}"


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _lines(text: bytes | None) -> list[str]:
    return (text or b"").decode(errors="replace").splitlines(keepends=True)
