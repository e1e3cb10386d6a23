"""Free TCP ports of this machine, chosen once and remembered in a file.

Invariant: a cluster keeps its ports for life, so nodes and clients of before a restart find it again.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import SetupError

_LOWEST, _HIGHEST = 20_000, 32_000
"""Below what kernels give to outgoing connections (ip_local_port_range starts at 32768)."""
_TRIES = 50


def remembered(file: Path, wanted: Mapping[str, int]) -> dict[str, int]:
    """First port of each name of ``wanted`` (name → how many in a row), from ``file`` or chosen now and kept there.

    Raises SetupError if no free ports are found.
    """
    ports: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    missing = {name: count for name, count in wanted.items() if name not in ports and count}
    if missing:
        ports |= _choose(missing)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(ports, indent=1))
        temporary.replace(file)
    return ports


def _choose(wanted: Mapping[str, int]) -> dict[str, int]:
    """A free row of ports for all of ``wanted``; random, so that two clusters started at once seldom meet."""
    total = sum(wanted.values())
    for _ in range(_TRIES):
        first = random.randrange(_LOWEST, _HIGHEST - total)  # noqa: S311 - not a secret
        if all(_free(port) for port in range(first, first + total)):
            break
    else:
        raise SetupError(f"no {total} free TCP ports in a row from {_LOWEST} to {_HIGHEST}", hint="end what holds them")
    ports = {}
    for name, count in wanted.items():
        ports[name] = first
        first += count
    return ports


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
