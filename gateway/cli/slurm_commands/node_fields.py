"""NodeFields: what sinfo can print of a group of like nodes.

Invariant: the letters, headers and values of sinfo 24.11; where nodes of a group differ in a number, the least and a +.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.cli.slurm_commands.hosts import fold
from gateway.cli.slurm_commands.table_format import Column, Record
from gateway.cli.slurm_commands.values import flags, minutes, number
from gateway.slurm.states import node_shown

BASES = ("UNKNOWN", "DOWN", "IDLE", "ALLOCATED", "ERROR", "MIXED", "FUTURE")
FLAGS = {
    "RESERVED": 0x20, "CLOUD": 0x80, "DRAIN": 0x200, "COMPLETING": 0x400, "NOT_RESPONDING": 0x800,
    "POWERED_DOWN": 0x1000, "FAIL": 0x2000, "POWERING_UP": 0x4000, "MAINTENANCE": 0x8000, "REBOOT_REQUESTED": 0x10000,
    "POWERING_DOWN": 0x40000, "REBOOT_ISSUED": 0x100000, "PLANNED": 0x200000, "POWER_DOWN": 0x800000,
    "POWER_DRAIN": 0x2000000, "BLOCKED": 0x8000000,
}  # fmt: skip
"""slurm.h's bits, by which sinfo orders states."""

_SHORT = {"allocated": "alloc", "completing": "comp", "drained": "drain", "draining": "drng", "unknown": "unk",
          "reserved": "resv", "mixed": "mix", "future": "futr"}  # fmt: skip


def state_number(node: Record) -> int:
    """As slurmctld numbers a node's state."""
    states = flags(node, "state")
    base = next((index for index, word in enumerate(BASES) if word in states), 0)
    return base + sum(bit for flag, bit in FLAGS.items() if flag in states)


def counts(nodes: Sequence[Record]) -> tuple[int, int, int, int]:
    """Allocated, idle, other, all."""
    kinds = [_kind(node) for node in nodes]
    return kinds.count("a"), kinds.count("i"), kinds.count("o"), len(kinds)


def _kind(node: Record) -> str:
    states = flags(node, "state")
    if states & {"ALLOCATED", "MIXED", "COMPLETING"}:
        return "a"
    return "o" if states & {"DRAIN", "DOWN", "FAIL", "ERROR", "UNKNOWN", "FUTURE"} else "i"


def _cpus(group: Record) -> str:
    parts = [0, 0, 0, 0]
    for node in group["nodes"]:
        total, taken = int(node["effective_cpus"]), int(node["alloc_cpus"])
        rest = total - taken
        parts[0] += taken
        parts[2 if _kind(node) == "o" else 1] += rest
        parts[3] += total
    return "/".join(map(str, parts))


def _least(*names: str) -> Callable[[Record], str]:
    """The least number of each field, with a + where nodes differ."""

    def told(group: Record) -> str:
        return ":".join(_range([int(node[name]) for node in group["nodes"]]) for name in names)

    return told


def _range(found: list[int]) -> str:
    return "" if not found else f"{min(found)}+" if min(found) != max(found) else str(found[0])


def _first(value: Callable[[Record], str]) -> Callable[[Record], str]:
    return lambda group: value(group["nodes"][0]) if group["nodes"] else ""


def short_state(node: Record) -> str:
    """alloc, idle~, drng*."""
    word = node_shown(flags(node, "state"))
    name = word.rstrip("*~#!%$@^-")
    return _SHORT.get(name, name) + word[len(name) :]


def _load(node: Record) -> str:
    load = number(node.get("cpu_load"))
    return "N/A" if load is None else f"{load / 100:.2f}"


def _free(node: Record) -> str:
    free = number(node.get("free_mem"))
    return "N/A" if free is None else str(free)


def _partition(group: Record) -> Any:
    return group["partition"]


def _name(group: Record) -> str:
    return str(_partition(group)["name"]) + ("*" if group["default"] else "")


COLUMNS = {
    "a": Column("AVAIL", lambda group: str(_partition(group)["partition"]["state"][0]).lower()),
    "A": Column("NODES(A/I)", lambda group: "/".join(map(str, counts(group["nodes"])[:2]))),
    "b": Column("ACTIVE_FEATURES", _first(lambda node: ",".join(node["active_features"]) or "(null)")),
    "c": Column("CPUS", _least("cpus")),
    "C": Column("CPUS(A/I/O/T)", _cpus),
    "d": Column("TMP_DISK", _least("temporary_disk")),
    "D": Column("NODES", lambda group: str(len(group["nodes"]))),
    "e": Column("FREE_MEM", _first(_free)),
    "E": Column("REASON", _first(lambda node: str(node.get("reason") or "none"))),
    "f": Column("AVAIL_FEATURES", _first(lambda node: ",".join(node["features"]) or "(null)")),
    "F": Column("NODES(A/I/O/T)", lambda group: "/".join(map(str, counts(group["nodes"])))),
    "G": Column("GRES", _first(lambda node: str(node.get("gres") or "(null)"))),
    "I": Column("PRIO_JOB_FACTOR", lambda group: str(_partition(group)["priority"]["job_factor"])),
    "l": Column("TIMELIMIT", lambda group: minutes(number(_partition(group)["maximums"]["time"]), "infinite")),
    "m": Column("MEMORY", _least("real_memory")),
    "n": Column("HOSTNAMES", _first(lambda node: str(node["hostname"]))),
    "N": Column("NODELIST", lambda group: fold(node["name"] for node in group["nodes"]), cut=False),
    "o": Column("NODE_ADDR", _first(lambda node: str(node["address"]))),
    "O": Column("CPU_LOAD", _first(_load)),
    "p": Column("PRIO_TIER", lambda group: str(_partition(group)["priority"]["tier"])),
    "P": Column("PARTITION", _name),
    "R": Column("PARTITION", lambda group: str(_partition(group)["name"])),
    "t": Column("STATE", lambda group: short_state(group["nodes"][0]) if group["nodes"] else "n/a"),
    "T": Column("STATE", lambda group: node_shown(flags(group["nodes"][0], "state")) if group["nodes"] else "n/a"),
    "v": Column("VERSION", _first(lambda node: str(node.get("version") or "N/A"))),
    "w": Column("WEIGHT", _least("weight")),
    "X": Column("SOCKETS", _least("sockets")),
    "Y": Column("CORES", _least("cores")),
    "z": Column("S:C:T", _least("sockets", "cores", "threads")),
    "Z": Column("THREADS", _least("threads")),
}
"""Letter of ``-o`` → column of a group {"partition", "default", "nodes"}."""

TOLD_APART: dict[str, Callable[[Record], object]] = {
    "b": lambda node: tuple(node["active_features"]),
    "e": _free,
    "E": lambda node: node.get("reason"),
    "f": lambda node: tuple(node["features"]),
    "G": lambda node: node.get("gres"),
    "n": lambda node: node["hostname"],
    "O": _load,
    "t": state_number,
    "T": state_number,
}
"""Letters whose values must be equal within a group."""

EXACTLY: dict[str, Callable[[Record], object]] = {
    "c": lambda node: node["cpus"],
    "d": lambda node: node["temporary_disk"],
    "m": lambda node: node["real_memory"],
    "w": lambda node: node["weight"],
    "X": lambda node: node["sockets"],
    "Y": lambda node: node["cores"],
    "z": lambda node: (node["sockets"], node["cores"], node["threads"]),
    "Z": lambda node: node["threads"],
}
"""Those too, with --exact."""
