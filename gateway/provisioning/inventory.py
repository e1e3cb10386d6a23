"""Inventory: what a machine says that it has, held against what its size promised.

Invariant: a node of which something lacks never becomes IDLE; the sentence that says what lacks is the reason that
admins, owners of jobs and Slurm are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.provisioning.supply import cloud_of
from gateway.settings import LOCAL_CLOUD, SizeSettings

MEMORY_PERCENT = 90
"""A kernel keeps some of a machine's memory to itself: what it shows is less than what was bought."""


@dataclass(frozen=True)
class Gpu:
    """One card that works. ``index``: its number on the machine, where its driver gives one."""

    kind: str
    uuid: str
    memory_mb: int
    index: int | None = None


@dataclass(frozen=True)
class Inventory:
    """What a node found in its machine. ``health``: a sentence for each fault; a GPU's begins with "GPU"."""

    cores: int
    memory_mb: int
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    health: tuple[str, ...] = ()

    def __str__(self) -> str:
        kinds = sorted({gpu.kind for gpu in self.gpus})
        number = f"{len(self.gpus)} GPU{'s' if len(self.gpus) > 1 else ''}"
        cards = f", {number} ({', '.join(kinds)}; {self.driver})" if self.gpus else ""
        return "; ".join((f"{self.cores} cores, {self.memory_mb} MiB{cards}", *self.health))


@dataclass(frozen=True)
class Promise:
    """What a machine must have to be a node of its size.

    ``memory_percent``: how much of ``memory_mb`` is enough (Slurm's node_reg_mem_percent). ``healthy``: whether a fault
    that is no GPU's counts too.
    """

    cores: int = 0
    memory_mb: int = 0
    gpus: int = 0
    memory_percent: int = MEMORY_PERCENT
    healthy: bool = True


def promise_of(size: SizeSettings, supply: str, memory_percent: int = MEMORY_PERCENT) -> Promise:
    """What a machine of ``supply`` owes to nodes of ``size``.

    The local cloud sells sizes that this computer need not have; it owes those GPUs that have device files.
    """
    if cloud_of(supply) == LOCAL_CLOUD:
        return Promise(gpus=size.gpus if size.gpu_files else 0, healthy=False)
    return Promise(size.cores, size.memory_mb, size.gpus, memory_percent)


def shortfall(promised: Promise, found: Inventory) -> str:
    """What lacks, in one line; "": nothing."""
    return "; ".join((*hardware_shortfalls(promised, found), *_other_faults(promised, found)))


def hardware_shortfalls(promised: Promise, found: Inventory) -> Iterator[str]:
    """What no job's end will bring back."""
    if found.cores < promised.cores:
        yield f"it has {found.cores} of {promised.cores} cores"
    # Whole numbers: 90 % of a promise, to the MiB.
    if found.memory_mb * 100 < promised.memory_mb * promised.memory_percent:
        yield f"it has {found.memory_mb} of {promised.memory_mb} MiB, less than {promised.memory_percent} %"
    if len(found.gpus) < promised.gpus:
        yield f"it has {len(found.gpus)} of {promised.gpus} GPUs{_which(promised, found)}"
    if promised.gpus:
        yield from (fault for fault in found.health if fault.startswith("GPU"))


def _which(promised: Promise, found: Inventory) -> str:
    there = {gpu.index for gpu in found.gpus if gpu.index is not None}
    if not found.gpus or len(there) < len(found.gpus):
        return ""
    missing = ", ".join(str(index) for index in range(promised.gpus) if index not in there)
    return f": GPU {missing} lacks" if missing else ""


def _other_faults(promised: Promise, found: Inventory) -> tuple[str, ...]:
    return tuple(fault for fault in found.health if promised.healthy and not fault.startswith("GPU"))
