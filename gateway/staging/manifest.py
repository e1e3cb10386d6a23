"""Manifest: every file that an attempt staged out, with size and digest; nodes' parts become one without a loss.

Invariant: one manifest has one spelling (canonical JSON), hence one digest. No two of its paths are the same and none
is a folder of another, so it can be written out as a tree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

from gateway.errors import InvalidRequest
from gateway.jobs.store import Part

VERSION = 1
PATH_BYTES = 4096
"""Linux's PATH_MAX."""


@dataclass(frozen=True, order=True)
class Entry:
    """One file: ``path`` as its user sees it, ``key`` below the attempt's prefix, ``size`` in bytes."""

    path: str
    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """An attempt's files by path, and what could not be staged out."""

    entries: tuple[Entry, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def json(self) -> bytes:
        """Canonical JSON: UTF-8, sorted names, no blanks, one line."""
        content = {"version": VERSION, "files": [asdict(entry) for entry in self.entries], "errors": self.errors}
        return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def sha256(self) -> str:
        """Digest of the canonical JSON."""
        return hashlib.sha256(self.json).hexdigest()

    @classmethod
    def read(cls, content: bytes) -> Manifest:
        """The manifest that ``json`` spelled. Raises InvalidRequest."""
        try:
            said = json.loads(content)
            files = tuple(Entry(**file) for file in said["files"])
            return cls(files, tuple(said["errors"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(f"that is no manifest: {error}", hint="stage the job out again") from error


def merge(parts: Iterable[Part], folder: str = "nodes") -> Manifest:
    """One manifest of parts in order of precedence, the leader's first.

    What two parts agree on is listed once. Where a path of a later part is taken, by other content or by being a
    folder or a file there, it becomes FOLDER/NODE/PATH; should even that be taken, FOLDER gets a tilde more.
    """
    tree = _Tree()
    errors: list[str] = []
    for part in parts:
        # By path, so that it does not matter in which order a node found its files.
        for file in sorted(part.files, key=itemgetter("path")):
            tree.add(Entry(file["path"], file["key"], file["size"], file["sha256"]), part.node, folder)
        errors += [f"{part.node}: {error}" for error in part.errors]
    return Manifest(tuple(sorted(tree.files.values())), tuple(errors))


def check_path(path: Any) -> str:
    """A path that stays below where it is put: relative, normalised, text. Raises InvalidRequest."""
    if not isinstance(path, str) or not path:
        raise _bad(path, "it is empty")
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise _bad(path, "it is not Unicode text") from None
    if length > PATH_BYTES:
        raise _bad(path[:80] + "…", f"it has {length} bytes and {PATH_BYTES} are allowed")
    if "\0" in path:
        raise _bad(path, "it holds a NUL")
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise _bad(path, "it is absolute or not normalised")
    return path


class _Tree:
    """Files by path, and the folders that they need."""

    def __init__(self) -> None:
        self.files: dict[str, Entry] = {}
        self._folders: set[str] = set()

    def add(self, entry: Entry, node: str, folder: str) -> None:
        known = self.files.get(entry.path)
        if known and (known.sha256, known.size) == (entry.sha256, entry.size):
            return
        path, root = entry.path, folder
        while self._taken(path):
            path, root = f"{root}/{node}/{entry.path}", f"{root}~"
        self.files[path] = Entry(path, entry.key, entry.size, entry.sha256)
        self._folders.update(_above(path))

    def _taken(self, path: str) -> bool:
        return path in self.files or path in self._folders or any(above in self.files for above in _above(path))


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _bad(path: object, why: str) -> InvalidRequest:
    hint = "use a relative path without . and .., such as results/a.dat"
    return InvalidRequest(f"{path!r} cannot be a path: {why}", hint=hint)
