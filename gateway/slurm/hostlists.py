"""Lists of host names in Slurm's bracket form, by ClusterShell.

Invariant: ``expand(fold(names))`` gives the names back, in ClusterShell's order and without repeats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException
from ClusterShell.RangeSet import RangeSetException

MAX_HOSTS = 64 * 1024
"""Most names of one part of a list, as Slurm itself has it (MAX_RANGE)."""

_RANGES = r"\[(?:\d+(?:-\d+)?,)*\d+(?:-\d+)?\]"
_PART = re.compile(rf"(?:[A-Za-z0-9._-]|{_RANGES})+", re.ASCII)
"""One part between commas: none of ClusterShell's groups, operators, wild cards, steps and negative numbers."""

_LIST = re.compile(rf"(?:{_PART.pattern}(?:,{_PART.pattern})*)?", re.ASCII)
_RANGE = re.compile(r"(\d+)-(\d+)", re.ASCII)


def expand(text: str) -> tuple[str, ...]:
    """Host names of a list such as ``n[1-3,07],login``. Raises ``ValueError`` for one that is malformed.

    >>> expand("n[1-3]")
    ('n1', 'n2', 'n3')
    """
    if not _LIST.fullmatch(text):
        raise ValueError(f"not a list of host names: {text!r}")
    if any(_size(part) > MAX_HOSTS for part in _PART.findall(text)):
        raise ValueError(f"more than {MAX_HOSTS} host names in a part of the list")
    try:
        return tuple(NodeSet(text, resolver=RESOLVER_NOGROUP))  # type: ignore[no-untyped-call]
    except (NodeSetException, RangeSetException) as error:
        raise ValueError(str(error)) from error


def fold(names: Iterable[str]) -> str:
    """The shortest list of these names.

    >>> fold(["n1", "n2", "n3"])
    'n[1-3]'
    """
    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))  # type: ignore[no-untyped-call]


def _size(part: str) -> int:
    """An upper bound of how many names a part such as ``r[1-4]n[1-9,11]`` has."""
    size = 1
    for bracket in re.findall(r"\[([^\]]*)\]", part):
        size *= bracket.count(",") + 1 + sum(max(0, int(last) - int(first)) for first, last in _RANGE.findall(bracket))
    return size
