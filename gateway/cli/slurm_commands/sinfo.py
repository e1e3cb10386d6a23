"""sinfo: partitions, and their nodes by state.

Invariant: nodes that differ in nothing that is printed share a line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from gateway.cli.slurm_commands import door, node_fields, table_format
from gateway.cli.slurm_commands.failure import Failure
from gateway.cli.slurm_commands.hosts import expand, sort_key
from gateway.cli.slurm_commands.table_format import Record
from gateway.cli.slurm_commands.values import flags
from gateway.cli.slurm_commands.words import Line, Option, read

_NOT_TOLD = "slurmrestd v0.0.42 does not tell what it prints"
OPTIONS = {
    "all": Option("a"),
    "clusters": Option("M", value=True, reason="the gateway is one cluster"),
    "dead": Option("d", reason="use -t"),
    "exact": Option("e"),
    "Format": Option("O", value=True, reason="use -o"),
    "format": Option("o", value=True),
    "help": Option(),
    "iterate": Option("i", value=True, reason="use watch(1)"),
    "json": Option(optional=True, reason="ask the gateway: GET /slurm/v0.0.42/nodes"),
    "list-reasons": Option("R", reason="use -o '%E %N'"),
    "local": Option(),
    "long": Option("l", reason=_NOT_TOLD),
    "Node": Option("N"),
    "nodes": Option("n", value=True),
    "noheader": Option("h"),
    "noconvert": Option(),
    "partition": Option("p", value=True),
    "reservation": Option("T", reason="the gateway's Slurm has none"),
    "responding": Option("r", reason="use -t"),
    "sort": Option("S", value=True, reason="use sort(1)"),
    "states": Option("t", value=True),
    "summarize": Option("s"),
    "usage": Option(),
    "verbose": Option("v"),
    "version": Option("V"),
    "yaml": Option(optional=True, reason="use --json"),
}
Key = Callable[[Record], object]

_STATES = {
    "alloc": "ALLOCATED", "allocated": "ALLOCATED", "cloud": "CLOUD", "comp": "COMPLETING", "completing": "COMPLETING",
    "down": "DOWN", "drain": "DRAIN", "drained": "DRAIN", "draining": "DRAIN", "drng": "DRAIN", "fail": "FAIL",
    "future": "FUTURE", "idle": "IDLE", "maint": "MAINTENANCE", "mix": "MIXED", "mixed": "MIXED",
    "no_respond": "NOT_RESPONDING", "planned": "PLANNED", "powered_down": "POWERED_DOWN",
    "powering_down": "POWERING_DOWN", "powering_up": "POWERING_UP", "power_down": "POWER_DOWN", "unknown": "UNKNOWN",
}  # fmt: skip
_VALID = (
    "unknown,down,idle,allocated,?,mixed,future,drain,drained,draining,no_respond,reserved,planned,blocked,cloud,"
    "completing,powering_down,powered_down,power_down,powering_up,fail,maint,reboot,reboot^"
)
_LEAST = 9
"""Width of the partition's column, unless a name is longer."""


def run(words: Sequence[str]) -> int:
    """Print the table. Raises Failure."""
    line = read("sinfo", OPTIONS, words)
    if line.has("help") or line.has("usage"):
        sys.stdout.write("Usage: sinfo [-aehNsv] [-n nodes] [-o format] [-p partition] [-t states]\n")
        return 0
    states = _states(line)
    partitions = _get("partitions")
    nodes = _get("nodes").document["nodes"]
    default = partitions.headers.get("x-burst-default-partition", "")
    chosen = [node for node in nodes if _fits(node, line, states)]
    sys.stdout.write(listing(partitions.document["partitions"], chosen, default, line))
    return 0


def listing(partitions: Sequence[Record], nodes: Sequence[Record], default: str, line: Line) -> str:
    """The table."""
    shown = [one for one in partitions if not line.has("partition") or one["name"] in line.listed("partition")]
    text = _format(line, shown, nodes, default)
    pieces = table_format.read("sinfo", "node", text, node_fields.COLUMNS)
    apart = {**node_fields.TOLD_APART, **(node_fields.EXACTLY if line.has("exact") else {})}
    keys = [key for letter, key in apart.items() if _asks(pieces, letter)]
    groups = [group for one in shown for group in _groups(one, nodes, keys, default, line)]
    if line.has("Node"):
        groups.sort(key=lambda group: [_name_key(node) for node in group["nodes"]])
    lines = [] if line.has("noheader") else [table_format.line(pieces, None)]
    lines += [table_format.line(pieces, group) for group in groups]
    return "".join(lines)


def _groups(
    partition: Record, nodes: Sequence[Record], keys: Sequence[Key], default: str, line: Line
) -> list[dict[str, Any]]:
    mine = [node for node in nodes if partition["name"] in node["partitions"]]
    found: dict[object, list[Record]] = {}
    for node in mine:
        key: object = node["name"] if line.has("Node") else tuple(of(node) for of in keys)
        found.setdefault(key, []).append(node)
    lists = sorted(found.values(), key=lambda group: -node_fields.state_number(group[0]))
    if not lists and not line.has("Node") and not line.has("nodes") and not line.has("states"):
        lists = [[]]
    return [{"partition": partition, "default": partition["name"] == default, "nodes": one} for one in lists]


def _asks(pieces: Sequence[table_format.Piece], letter: str) -> bool:
    return any(piece.column is node_fields.COLUMNS[letter] for piece in pieces)


def _format(line: Line, partitions: Sequence[Record], nodes: Sequence[Record], default: str) -> str:
    asked = line.last("format") or os.environ.get("SINFO_FORMAT")
    if asked is not None:
        return asked
    names = [f"{one['name']}{'*' if one['name'] == default else ''}" for one in partitions]
    width = max([_LEAST, *map(len, names)])
    if line.has("summarize"):
        return f"%{width}P %.5a %.10l %.16F %N"
    if line.has("Node"):
        longest = max([_LEAST, *(len(str(node["name"])) for node in nodes)])
        return f"%{longest}N %.6D %.{width}P %6t"
    return f"%{width}P %.5a %.10l %.6D %.6t %N"


def _name_key(node: Record) -> object:
    return sort_key(str(node["name"]))


def _states(line: Line) -> frozenset[str]:
    for word in line.listed("states"):
        if word.lower() not in _STATES:
            raise Failure(f'sinfo: error: Bad state string: "{word}"\nsinfo: error: valid states: {_VALID}')
    return frozenset(_STATES[word.lower()] for word in line.listed("states"))


def _fits(node: Record, line: Line, states: frozenset[str]) -> bool:
    if states and not states & flags(node, "state"):
        return False
    return not line.has("nodes") or node["name"] in {name for value in line.given["nodes"] for name in expand(value)}


def _get(kind: str) -> door.Answer:
    answer = door.get(f"{door.SLURM}/{kind}")
    if answer.errno or kind not in answer.document:
        raise Failure(f"slurm_load_{kind}: {answer.words or door.AWAY}")
    return answer
