"""A site's slurm.conf, as it is found and as it is extended: pure text in, pure text out.

Invariant: what ``extended`` adds is one block between two markers, and ``restored`` gives back the bytes of before;
nothing that the site set itself is ever overridden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.engines.slurm_conf import NodeGroup, node_line
from gateway.errors import SetupError
from gateway.slurm.hostlists import expand

BURST_CONF = "burst.conf"
JOB_SUBMIT = "job_submit.lua"
OURS = "written by burst site install"
"""Stands in the first line of every file that is ours."""

_BEGIN = b"# >>> burst gateway (burst site uninstall takes these lines out) >>>"
_END = b"# <<< burst gateway <<<\n"
_BLOCK = re.compile(rb"(?P<own>\n?)" + re.escape(_BEGIN) + rb"(?P<added> \+)?\n.*?" + re.escape(_END), re.DOTALL)
_SETTING = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*([^#]*)")
_INCLUDE = re.compile(r"\s*include\s+([^\s#]+)", re.IGNORECASE)

_NEEDED = ("ResumeProgram", "SuspendProgram", "ResumeFailProgram", "PrologSlurmctld", "JobSubmitPlugins")
_WISHED: Mapping[str, tuple[str, str]] = {
    "SlurmctldParameters": (
        "idle_on_node_suspend,power_save_interval=1,power_save_min_interval=0",
        "cloud nodes then come and go faster",
    ),
    "ReconfigFlags": ("KeepPowerSaveSettings", "power saving as changed by hand then outlives a reconfiguration"),
    "MinJobAge": ("3600", "the gateway may then be away for an hour and still learn how a job ended"),
}
"""Key → what we set, and why. Where a site has its own value that stays, and it is told of ours."""


@dataclass(frozen=True)
class Line:
    """One line of a configuration: the file that it stands in, its number there from 1, its text."""

    file: Path
    number: int
    text: str

    @property
    def place(self) -> str:
        """FILE:NUMBER."""
        return f"{self.file}:{self.number}"

    @property
    def setting(self) -> tuple[str, str] | None:
        """Its first key and value; None for a line that has none."""
        found = _SETTING.match(self.text)
        return (found[1], found[2].strip()) if found else None


@dataclass(frozen=True)
class SiteConf:
    """A slurm.conf with all that it includes, line by line, in Slurm's order."""

    path: Path
    lines: tuple[Line, ...]

    @classmethod
    def read(cls, path: Path) -> SiteConf:
        """Read it. Raises SetupError for a file that is not there, or that includes itself."""
        return cls(path, tuple(_lines(path, path.parent, ())))

    def get(self, key: str, default: str = "") -> str:
        """The last value of a key; Slurm's keys have no case."""
        return next((text for _, name, text in reversed(self._settings()) if name == key.lower()), default)

    def flat(self) -> str:
        """The whole of it as one file, which means the same wherever it lies."""
        return "".join(f"{line.text}\n" for line in self.lines if not _INCLUDE.match(line.text))

    @property
    def extended(self) -> bool:
        """Whether it has our block."""
        return any(line.text.encode().startswith(_BEGIN) for line in self.lines if line.file == self.path)

    def without_ours(self) -> SiteConf:
        """As it would be without burst.conf."""
        ours = self.path.parent / BURST_CONF
        return SiteConf(self.path, tuple(line for line in self.lines if line.file != ours))

    def conflicts(self, partition: str, nodes: Iterable[str]) -> list[str]:
        """What the site has already and only one can have: one sentence each, with file and line."""
        needed = {key.lower() for key in _NEEDED}
        found = [f"{line.place} sets {line.text.strip()}" for line, name, _ in self._settings() if name in needed]
        wanted = set(nodes)
        for line, name, value in self._settings():
            said = value.split()[0] if value else ""
            if name == "partitionname" and said == partition:
                found.append(f"{line.place} has a partition {partition}; choose another with --partition")
            if name == "nodename" and (both := wanted & set(_names(said))):
                found.append(f"{line.place} has a node {min(both)}; give the sizes of burst.toml other names")
        return found

    def wishes(self) -> list[str]:
        """What the site sets to its own liking, and might add to."""
        own = {name for _, name, _ in self._settings()}
        return [
            f"{key} is the site's own and stays; with {words}, {why}"
            for key, (words, why) in _WISHED.items()
            if key.lower() in own
        ]

    def _settings(self) -> list[tuple[Line, str, str]]:
        return [(line, line.setting[0].lower(), line.setting[1]) for line in self.lines if line.setting]


@dataclass(frozen=True)
class CloudPartition:
    """What burst.conf says. Times in seconds unless the name says else."""

    name: str
    groups: tuple[NodeGroup, ...]
    programs: Mapping[str, Path]
    idle_s: int
    resume_timeout_s: int
    default_time_limit_min: int
    max_time_limit_min: int

    def text(self, conf: SiteConf) -> str:
        """burst.conf for the site of ``conf``: what the site has its own values for is left out."""
        own = {line.setting[0].lower() for line in conf.lines if line.setting}
        wished = {key: words for key, (words, _) in _WISHED.items() if key.lower() not in own}
        settings = {**{name: str(path) for name, path in self.programs.items()}, "JobSubmitPlugins": "lua", **wished}
        lines = [
            f"# {OURS}; burst site uninstall removes it.",
            *(f"{key}={value}" for key, value in settings.items()),
            *(node_line(group, "process", "127.0.0.1") for group in self.groups),
            self._partition_line(),
        ]
        return "".join(f"{line}\n" for line in lines)

    def _partition_line(self) -> str:
        words = {
            "PartitionName": self.name,
            "Nodes": ",".join(group.nodes for group in self.groups),
            "State": "UP",
            "OverSubscribe": "EXCLUSIVE",
            "DefaultTime": self.default_time_limit_min,
            "MaxTime": self.max_time_limit_min,
            # Of this partition only: the site's own nodes are never powered down.
            "SuspendTime": self.idle_s,
            "ResumeTimeout": self.resume_timeout_s,
            "SuspendTimeout": 10,
        }
        return " ".join(f"{key}={value}" for key, value in words.items())


def extended(before: bytes) -> bytes:
    """slurm.conf with our block at its end.

    Comes from ``before`` by adding only; a newline that was missing is noted in the marker.
    """
    added = b"" if before.endswith(b"\n") or not before else b"\n"
    mark = _BEGIN + (b" +" if added else b"") + b"\n"
    return before + added + mark + f"Include {BURST_CONF}\n".encode() + _END


def restored(text: bytes) -> bytes:
    """slurm.conf without our block, byte for byte as it was; what the site changed meanwhile around it stays."""
    return _BLOCK.sub(lambda found: b"" if found["added"] else found["own"], text)


def _lines(path: Path, folder: Path, above: tuple[Path, ...]) -> Iterator[Line]:
    """Every line, an Include followed by what it includes; relative names are relative to slurm.conf's folder."""
    if path in above:
        raise SetupError(f"{path} includes itself", hint="take the Include out")
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}", hint="name the site's slurm.conf with --slurm-conf") from error
    for line in _joined(path, text):
        yield line
        if found := _INCLUDE.match(line.text):
            yield from _lines(folder / found[1], folder, (*above, path))


def _joined(path: Path, text: str) -> Iterator[Line]:
    """Lines as Slurm reads them: a backslash at the end goes on with the next."""
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        first = first or number
        if line.endswith("\\"):
            begun += line[:-1]
            continue
        yield Line(path, first, begun + line)
        begun, first = "", 0
    if begun:
        yield Line(path, first, begun)


def _names(hostlist: str) -> tuple[str, ...]:
    try:
        return expand(hostlist)
    except ValueError:
        return (hostlist,)
