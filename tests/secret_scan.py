"""Secret scan: looks for known secrets in files, processes and answers, however they are written there.

Invariant: a secret is found raw, as hex and as base64 of either alphabet, also in the middle of a longer text that was
encoded as a whole, across the line breaks of a PEM file, and encoded twice; what is compressed is not unpacked.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from urllib.parse import quote_from_bytes

SHORTEST = 8
"""Bytes of a secret below which it would be found by chance."""
LARGEST = 64 << 20
TWICE_UP_TO = 1 << 20
"""Above this size a file is not searched for what was encoded twice."""
_LOOK_S = 0.05


@dataclass(frozen=True)
class Secret:
    """Something that nobody may read; ``home``: where it belongs, as patterns of fnmatch(3) on the place."""

    name: str
    value: bytes = field(repr=False)
    home: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would be found by chance."""
        assert len(self.value) >= SHORTEST, f"{self.name} is too short to look for"

    @cached_property
    def once(self) -> frozenset[bytes]:
        """How it looks raw and in each encoding."""
        return frozenset({self.value, *_encoded(self.value)})

    @cached_property
    def twice(self) -> frozenset[bytes]:
        """How its encodings look encoded again."""
        return frozenset(again for text in _encoded(self.value) for again in _encoded(text))

    def at_home(self, place: str) -> bool:
        """Whether it belongs there."""
        return any(fnmatch(place, pattern) for pattern in self.home)


@dataclass(frozen=True, order=True)
class Finding:
    """A secret in a place."""

    place: str
    secret: str


def search(place: str, content: bytes, secrets: Iterable[Secret]) -> Iterator[Finding]:
    """The secrets in some bytes, wherever they belong."""
    texts = [content]
    if b"\n" in content:
        texts.append(content.replace(b"\r", b"").replace(b"\n", b""))
    for secret in secrets:
        needles = secret.once | (secret.twice if len(content) <= TWICE_UP_TO else frozenset())
        if any(needle in text for text in texts for needle in needles):
            yield Finding(place, secret.name)


def search_tree(folder: Path, secrets: Iterable[Secret]) -> set[Finding]:
    """The secrets in all files below a folder, and in their names; a place is a path relative to the folder."""
    secrets, found = tuple(secrets), set()
    for path in sorted(folder.rglob("*")):
        place = str(path.relative_to(folder))
        found |= set(search(place, os.fsencode(path.name), secrets))
        with suppress(FileNotFoundError, ProcessLookupError):
            if path.is_file() and not path.is_symlink():
                assert path.stat().st_size <= LARGEST, f"{path} is too large to look into"
                found |= set(search(place, path.read_bytes(), secrets))
    return found


def leaks(found: Iterable[Finding], secrets: Iterable[Secret]) -> list[Finding]:
    """The findings that are where they do not belong."""
    known = {secret.name: secret for secret in secrets}
    return sorted(finding for finding in found if not known[finding.secret].at_home(finding.place))


class ProcessWatch:
    """The command lines and environments of all processes that began since it did, kept as they were seen."""

    def __init__(self) -> None:
        self._old = _numbers()
        self._words: dict[str, bytes] = {}
        self._seen: dict[bytes, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="process-watch", daemon=True)

    @contextmanager
    def __call__(self) -> Iterator[ProcessWatch]:
        """Watch as long as the block lasts."""
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()

    def look(self) -> None:
        """Look once."""
        numbers = _numbers()
        self._old &= numbers  # the kernel may give a number again
        for number in numbers - self._old:
            with suppress(OSError):
                words = Path("/proc", number, "cmdline").read_bytes()
                # Both change together, when a process becomes another program (execve(2)).
                if self._words.get(number) != words:
                    environment = Path("/proc", number, "environ").read_bytes()
                    self._keep(number, words, environment)

    @property
    def seen(self) -> dict[bytes, str]:
        """Content → where it was seen first."""
        return dict(self._seen)

    def search(self, secrets: Iterable[Secret]) -> set[Finding]:
        """The secrets in what was seen."""
        secrets = tuple(secrets)
        return {finding for content, place in self.seen.items() for finding in search(place, content, secrets)}

    def _keep(self, number: str, words: bytes, environment: bytes) -> None:
        self._words[number] = words
        for kind, content in (("cmdline", words), ("environ", environment)):
            self._seen.setdefault(content, f"{kind} of {number} ({_name(number)})")

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.look()


def _encoded(value: bytes) -> Iterator[bytes]:
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for before in range(3):
        # What does not depend on the bytes before and behind it: the characters that hold only bits of the value.
        text = base64.b64encode(b"\0" * before + value)
        inner = text[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))
        yield quote_from_bytes(inner, safe="").encode()


def _numbers() -> set[str]:
    with os.scandir("/proc") as entries:
        return {entry.name for entry in entries if entry.name.isdecimal()}


def _name(number: str) -> str:
    try:
        return Path("/proc", number, "comm").read_text().strip()
    except OSError:
        return "gone"
