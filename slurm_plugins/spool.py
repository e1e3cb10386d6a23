"""Requests of slurmctld's programs to the gateway: a file that waits for it, and a poke that it should look.

Invariant: a request file appears whole or not at all, and files sort by the time of their writing; writing one never
waits for the gateway. Standard library only: slurmctld runs these programs with a bare interpreter.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_POKE_TIMEOUT_S = 0.2


def main(program: str) -> int:
    """Body of ResumeProgram and its like: arguments SPOOL SOCKET [SIZES OWN] NODES; exit 0 when the request is on disk.

    OWN is the program that a site had before, for all nodes that are not of our SIZES ("small,large").
    """
    if len(sys.argv) not in {4, 6}:
        print(f"usage: {program} SPOOL SOCKET [SIZES OWN] NODES", file=sys.stderr)
        return 2
    spool, site, *both, nodes = sys.argv[1:]
    ours, theirs = split(nodes, both[0].split(",")) if both else (nodes, "")
    code = _request(Path(spool), site, program, ours) if ours else 0
    return (subprocess.call([both[1], theirs]) if theirs else 0) or code


def split(nodes: str, sizes: Sequence[str]) -> tuple[str, str]:
    """A hostlist in two: our nodes, called SIZE-NUMBER, and all others.

    >>> split("n[1-3],small-[1-2,7],small-x1", ["small"])
    ('small-[1-2,7]', 'n[1-3],small-x1')
    """
    names = "|".join(map(re.escape, sizes))
    of_ours = re.compile(rf"(?:{names})-(?:\d+|\[[\d,-]+\])")
    parts = re.findall(r"(?:\[[^\]]*\]|[^,\[])+", nodes)
    ours = [part for part in parts if of_ours.fullmatch(part)]
    return ",".join(ours), ",".join(part for part in parts if part not in ours)


def _request(spool: Path, site: str, program: str, nodes: str) -> int:
    try:
        write(spool, program, nodes, _resume_file())
    except OSError as error:
        # The site's own nodes are to be made all the same.
        print(f"{program}: {spool}: {error.strerror}", file=sys.stderr)
        return 1
    poke(site)
    return 0


def write(spool: Path, program: str, nodes: str, resume_file: dict[str, Any] | None) -> Path:
    """Leave one request for the gateway; return its file.

    ``nodes`` is Slurm's hostlist as given ("small-[1-2]"). The text is
    ``{"program": …, "nodes": …, "resume_file": {…} | null, "at": unix time}``. Raises OSError if the disk refuses.
    """
    now = time.time_ns()
    request = {"program": program, "nodes": nodes, "resume_file": resume_file, "at": now / 1e9}
    name = f"{now:020d}-{os.getpid()}-{program}.json"
    temporary = spool / f".{name}.new"
    with temporary.open("w") as file:
        json.dump(request, file)
        file.flush()
        os.fsync(file.fileno())
    return temporary.replace(spool / name)


def poke(site: str) -> None:
    """Tell the gateway on the Unix socket ``site`` that a request waits; one that is away will look by itself."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_POKE_TIMEOUT_S)
        connection.connect(site)
        connection.sendall(b'{"program": "poke"}\n')


def _resume_file() -> dict[str, Any] | None:
    """Which job wants which nodes (slurm.conf(5), SLURM_RESUME_FILE); the file lives as long as the program."""
    path = os.environ.get("SLURM_RESUME_FILE")
    if not path:
        return None
    try:
        known = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) else None
