"""MemorySpool: the folder where Slurm's programs leave their calls, in memory.

Invariant: to ``gateway.runner.site.spooled`` it is a folder: what is not removed is there after a restart.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

Jobs = tuple[Mapping[str, object], ...]


@dataclass(order=True)
class SpoolFile:
    """One call, as a file."""

    name: str
    text: str = field(compare=False)
    spool: MemorySpool = field(compare=False, repr=False)

    def read_text(self) -> str:
        """What is in it."""
        return self.text

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove it."""
        del missing_ok
        self.spool.files.pop(self.name, None)


@dataclass
class MemorySpool:
    """The files by name; a name tells the order."""

    files: dict[str, SpoolFile] = field(default_factory=dict)
    past: deque[tuple[str, tuple[str, ...], Jobs]] = field(default_factory=lambda: deque(maxlen=20))
    count: int = 0

    def put(self, program: str, nodes: Iterable[str], jobs: Jobs = ()) -> None:
        """What a program of Slurm's leaves; ``jobs`` as in SLURM_RESUME_FILE."""
        names = tuple(nodes)
        self.past.append((program, names, jobs))
        self.count += 1
        name = f"{self.count:09d}.json"
        document: dict[str, object] = {"program": program, "nodes": ",".join(names)}
        if jobs:
            document["resume_file"] = {"jobs": [dict(job) for job in jobs], "all_nodes_resume": ",".join(names)}
        self.files[name] = SpoolFile(name, json.dumps(document), self)

    def glob(self, _pattern: str) -> Iterator[SpoolFile]:
        """Every file."""
        return iter(tuple(self.files.values()))
