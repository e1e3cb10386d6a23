"""Stock: what this machine has and what is wrong with it, to be held against what was ordered.

Invariant: taking stock never keeps the lease waiting: a GPU's tool that hangs, hangs in a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path

from slurm_plugins.agent.gpus import find_cards
from slurm_plugins.agent.web import Json

STOCK_EVERY_S = 60.0
MOST_FAULTS = 64
FULL_MB = 256
"""A disk with less left is full: neither a job's files nor slurmd's fit."""
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Stock:
    """``taken``: what was found last; None before the first time. ``folder``: where jobs write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: Json | None = None

    def watch(self) -> Stock:
        """Begin to look now and then, until the agent ends."""
        threading.Thread(target=self._watch, name="stock", daemon=True).start()
        return self

    def _watch(self) -> None:
        while True:
            self.taken = take_stock(self.folder)
            time.sleep(STOCK_EVERY_S)


def take_stock(folder: Path = Path("/")) -> Json:
    """Cores, memory, GPUs with their driver, and a sentence for each fault."""
    found = find_cards()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory_mb(),
        "gpus": [card.told for card in found.cards],
        "driver": found.driver,
        "health": [plain_line(fault) for fault in (*found.faults, *full_disks(Path("/"), folder))][:MOST_FAULTS],
    }


def plain_line(text: str) -> str:
    """What a tool said, short and printable."""
    return "".join(each if each.isprintable() else "?" for each in text)[:500]


def memory_mb() -> int:
    """MiB of the machine, or of the part of it that this control group may use."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(file.read_text()))
    return min(limits) >> 20


def full_disks(*folders: Path) -> list[str]:
    """A sentence for each of their file systems that has no room left."""
    full = {}
    for folder in folders:
        with contextlib.suppress(OSError):
            place = next(each for each in (folder, *folder.parents) if each.exists())
            if (left := shutil.disk_usage(place).free >> 20) < FULL_MB:
                full[place.stat().st_dev] = f"the disk of {place} is full: {left} MiB left"
    return list(full.values())
