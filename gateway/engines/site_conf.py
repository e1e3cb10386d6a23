"""A site's slurm.conf as Slurm reads it: every line of it and of what it includes, with file and number.

Invariant: nothing is written here, and no byte of a line is lost: what is not understood stays as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.engines.site_block import BURST_CONF, has_block
from gateway.errors import SetupError
from gateway.slurm.hostlists import expand

_COMMENT = re.compile(r"(?<!\\)#.*$")
_CONTINUED = re.compile(r"(?<!\\)((?:\\\\)*)\\\s*$")
_PAIR = re.compile(r'\s*([A-Za-z0-9_.]+)\s*[-*+/]?=\s*(?:"([^"]*)"|(\S+))')
_INCLUDE = re.compile(r"\s*include\s+(\S+)", re.IGNORECASE)
_CLUSTER = "%c"
_DEPTH = 32

_RECORDS = frozenset({"nodename", "partitionname", "nodeset", "downnodes", "frontendname", "switchname"})
"""Keys whose line is a record: what follows on the line is the record's own."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Line:
    """One line of a configuration: the file that it stands in, its number there from 1, its text as joined.

    ``text`` has no comment and no continuation any more; a line that is only a comment is empty.
    """

    file: Path
    number: int
    text: str

    @property
    def place(self) -> str:
        """FILE:NUMBER."""
        return f"{self.file}:{self.number}"

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Its keys, in lower case, and their values without quotes."""
        found = (match.groups() for match in _PAIR.finditer(self.text))
        return tuple((key.lower(), bare if quoted is None else quoted) for key, quoted, bare in found)

    @property
    def record(self) -> tuple[Pair, ...]:
        """All of it where it is a record (NodeName=…, PartitionName=…); () where it is none."""
        return self.pairs if self.pairs and self.pairs[0][0] in _RECORDS else ()

    @property
    def settings(self) -> tuple[Pair, ...]:
        """Its keys where it is no record; there may be several on one line."""
        return () if self.record else self.pairs

    def without(self, keys: frozenset[str]) -> str:
        """Its text without these settings; "" where nothing is left."""
        if not keys & {key for key, _ in self.settings}:
            return self.text
        return " ".join(f'{key}="{value}"' for key, value in self.settings if key not in keys)


@dataclass(frozen=True)
class SiteConf:
    """A slurm.conf with all that it includes, line by line, in Slurm's order."""

    path: Path
    lines: tuple[Line, ...]
    extended: bool
    """Whether it has our block."""

    @classmethod
    def read(cls, path: Path) -> SiteConf:
        """Read it. Raises SetupError for a file that is not there, or that includes itself."""
        raw = _bytes(path, f"{path}: ", "name the site's slurm.conf with --slurm-conf")
        return cls(path, tuple(_lines(path, path.parent, raw, ())), has_block(raw))

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that it consists of, itself first."""
        return tuple(dict.fromkeys((self.path, *(line.file for line in self.lines))))

    def get(self, key: str, default: str = "") -> str:
        """The last value of a key; Slurm's keys have no case."""
        return next((value for _, name, value in reversed(self.settings()) if name == key.lower()), default)

    def where(self, key: str) -> tuple[Line, ...]:
        """The lines that set a key."""
        return tuple(line for line, name, _ in self.settings() if name == key.lower())

    def all(self, key: str) -> tuple[str, ...]:
        """Every value of a key that may stand there more than once, in order."""
        return tuple(value for _, name, value in self.settings() if name == key.lower())

    def settings(self) -> list[tuple[Line, str, str]]:
        """Line, key in lower case, value."""
        return [(line, *pair) for line in self.lines for pair in line.settings]

    def records(self, kind: str) -> Iterator[tuple[Line, str, dict[str, str]]]:
        """Line, name, all pairs of each record of a kind ("NodeName")."""
        for line in self.lines:
            if line.record and line.record[0][0] == kind.lower():
                yield line, line.record[0][1], dict(line.record)

    def nodes(self) -> dict[str, Line]:
        """Node → the line that makes it; DEFAULT is none."""
        found = {}
        for line, names, _ in self.records("NodeName"):
            for name in () if names.upper() == "DEFAULT" else _names(names):
                found[name] = line
        return found

    def flat(self, *, without: frozenset[str] = frozenset()) -> str:
        """The whole of it as one file, which means the same wherever it lies.

        ``without``: keys in lower case, settings of which are left out.
        """
        kept = (line for line in self.lines if line.text.strip() and not _INCLUDE.match(line.text))
        return "".join(f"{text}\n" for line in kept if (text := line.without(without)))

    def without_ours(self) -> SiteConf:
        """As it would be without burst.conf."""
        ours = self.path.parent / BURST_CONF
        return SiteConf(self.path, tuple(line for line in self.lines if line.file != ours), extended=False)


def joined(text: str) -> Iterator[tuple[int, str]]:
    """Number from 1 and text of each line as Slurm's parser joins them, comments taken out.

    A comment ends where its line does, also one that ends with a backslash; blanks after that backslash do not count.
    """
    begun, first = "", 0
    for number, raw in enumerate(text.split("\n"), start=1):
        first = first or number
        line = _COMMENT.sub("", raw.rstrip("\r"))
        if goes_on := _CONTINUED.search(line):
            begun += line[: goes_on.start()] + goes_on[1]
            continue
        yield first, begun + line
        begun, first = "", 0
    if begun:
        yield first, begun


def _lines(path: Path, folder: Path, raw: bytes, above: tuple[Path, ...], cluster: str = "") -> Iterator[Line]:
    """Every line, an Include followed by what it includes; relative names are relative to slurm.conf's folder."""
    for number, text in joined(raw.decode(errors="surrogateescape")):
        line = Line(path, number, text)
        yield line
        cluster = dict(line.settings).get("clustername", cluster)
        if found := _INCLUDE.match(text):
            yield from _included(line, folder / found[1].replace(_CLUSTER, cluster.lower()), (*above, path), cluster)


def _included(line: Line, path: Path, above: tuple[Path, ...], cluster: str) -> Iterator[Line]:
    if path in above or len(above) > _DEPTH:
        raise SetupError(f"{path} includes itself, at {line.place}", hint="take the Include out")
    hint = "slurmctld would wait a minute for that file and then not start: take the line out, or bring the file back"
    raw = _bytes(path, f"{line.place} includes {path}: ", hint)
    yield from _lines(path, above[0].parent, raw, above, cluster)


def _bytes(path: Path, where: str, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"{where}{error.strerror}", hint=hint) from error


def _names(hostlist: str) -> tuple[str, ...]:
    try:
        return expand(hostlist)
    except ValueError:
        return (hostlist,)
