"""Slurm's units and ranges as numbers: time limits, memory, counts, node ranges and array specifications.

Invariant: pure functions that accept exactly what sbatch 24.11 accepts (tests/recorded) and raise ``ValueError`` for
anything else; the caller, who knows the option's name, words the error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

UNLIMITED = -1
"""Minutes of a time limit that never ends."""

ALL_MEMORY = 0
"""Megabytes that mean all memory of the node."""

MAX_ARRAY_SIZE = 1001
"""slurm.conf's MaxArraySize, as Slurm has it by default: indices are below it."""

MAX_COUNT = 2**31 - 1

_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?:(?P<dh>\d+)(?::(?P<dm>\d+)(?::(?P<ds>\d+))?)?)?"
    r"|(?P<h>\d+):(?P<hm>\d+):(?P<hs>\d+)|(?P<m>\d+)(?::(?P<s>\d+))?)",
    re.ASCII,
)
_MEMORY = re.compile(r"\+?(\d+)(?:([KMGT])B?)?", re.ASCII | re.IGNORECASE)
_COUNT = re.compile(r"\s*\+?(\d+)", re.ASCII)
_NODES = re.compile(r"\s*(\d*)([km]?)", re.ASCII | re.IGNORECASE)
_ARRAY_PART = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)
_KILOBYTES = {"K": 1, "M": 1024, "": 1024, "G": 1024**2, "T": 1024**3}
_NODE_FACTOR = {"": 1, "k": 1024, "m": 1024**2}


def seconds(text: str) -> int:
    """A time in seconds; ``UNLIMITED`` for -1, ``infinite`` and ``unlimited``.

    Forms (sbatch(1), --time): M, M:S, H:M:S, D-, D-H, D-H:M, D-H:M:S.

    >>> seconds("1-2:3:4"), seconds("5:30")
    (93784, 330)
    """
    if text == "-1" or text.lower() in {"infinite", "unlimited"}:
        return UNLIMITED
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    hours = part["days"] * 24 + part["dh"] + part["h"]
    minutes_ = part["dm"] + part["hm"] + part["m"]
    return (hours * 60 + minutes_) * 60 + part["ds"] + part["hs"] + part["s"]


def minutes(text: str) -> int:
    """A time limit in whole minutes, rounded up; ``UNLIMITED`` also for zero.

    >>> minutes("5:30"), minutes("0")
    (6, -1)
    """
    total = seconds(text)
    return -(-total // 60) if total > 0 else UNLIMITED


def megabytes(text: str) -> int:
    """Memory in megabytes, rounded up; units K, M (default), G, T, with or without B, in any case.

    >>> megabytes("1500K"), megabytes("2gb")
    (2, 2048)
    """
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise ValueError(text)
    kilobytes = int(match[1]) * _KILOBYTES[(match[2] or "").upper()]
    return -(-kilobytes // 1024)


def count(text: str) -> int:
    """A positive whole number without a unit, as --ntasks and --cpus-per-task take it.

    Raises ``OverflowError`` above 2^31 - 1.
    """
    match = _COUNT.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(text)
    if int(match[1]) > MAX_COUNT:
        raise OverflowError(text)
    return int(match[1])


@dataclass(frozen=True)
class NodeRange:
    """Fewest and most nodes of a job; ``text`` is the form that slurmctld takes."""

    fewest: int
    most: int
    text: str


def node_range(text: str) -> NodeRange:
    """The nodes of --nodes: ``4``, ``2-4``, ``1k``, ``1,3``, ``1-7:2``.

    Raises ``NodeOrderError`` when the most is less than the fewest.
    """
    counts = sorted(set(_node_counts(text)))
    if not counts or counts[-1] > MAX_COUNT:
        raise ValueError(text)
    plain = re.fullmatch(r"\s*\d*[km]?(-\d*[km]?)?", text, re.ASCII | re.IGNORECASE)
    canonical = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]}-{counts[-1]}"
    return NodeRange(counts[0], counts[-1], canonical if plain else text)


class NodeOrderError(ValueError):
    """A node range that ends before it begins; ``args`` are its fewest and most."""


def _node_counts(text: str) -> Iterator[int]:
    """The ends of every part of a size string; a step moves the last count down to one that it reaches."""
    for part in text.split(","):
        ends, colon, step_text = part.partition(":")
        low_text, dash, high_text = ends.partition("-")
        low = _nodes(low_text) if low_text or not dash else 1
        # Slurm reads a missing end as -1 and says so.
        high = (_nodes(high_text) if high_text else -1) if dash else low
        if high < low:
            raise NodeOrderError(low, high)
        step = count(step_text) if colon else 1
        if colon and not dash:
            raise ValueError(part)
        yield from (low, low + (high - low) // step * step)


def _nodes(text: str) -> int:
    match = _NODES.fullmatch(text)
    if match is None or not match[1]:
        raise ValueError(text)
    return int(match[1]) * _NODE_FACTOR[match[2].lower()]


@dataclass(frozen=True)
class ArraySpec:
    """Indices of a job array, ascending, and how many may run at once (0: no limit)."""

    indices: tuple[int, ...]
    throttle: int = 0

    @property
    def tasks(self) -> int:
        """How many tasks the array has."""
        return len(self.indices)


def array_spec(text: str, *, max_size: int = MAX_ARRAY_SIZE) -> ArraySpec:
    """The indices of --array, by slurmctld's rules: ``1-10:2%3``, ``1,4-6``, ``[0-7]``.

    >>> array_spec("1-10:4%2")
    ArraySpec(indices=(1, 5, 9), throttle=2)
    """
    body, percent, limit = text.partition("%")
    if body.startswith("[") and (limit if percent else body).endswith("]"):
        body, limit = body[1:].removesuffix("]"), limit.removesuffix("]")
    throttle = _index(limit) if percent else 0
    found: set[int] = set()
    for part in body.split(","):
        found.update(_array_part(part, max_size))
    return ArraySpec(tuple(sorted(found)), throttle)


def _array_part(part: str, max_size: int) -> range:
    match = _ARRAY_PART.fullmatch(part)
    if match is None:
        raise ValueError(part)
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    step = 1 if match[3] is None else int(match[3])
    if last < first or step == 0 or last >= max_size:
        raise ValueError(part)
    return range(first, last + 1, step)


def _index(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError(text)
    return int(text)
