"""Hosts: Slurm's host lists, written out and folded, for commands that must start fast.

Invariant: folding what was written out gives one text for the same hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PART = re.compile(r"([^,\[\]]*)(?:\[([^\]]*)\])?([^,\[\]]*)")
_NAME = re.compile(r"(.*?)(\d+)$")


def expand(text: str) -> list[str]:
    """``a[1-2,05],b`` as a1, a2, a05, b. Raises ValueError."""
    found: list[str] = []
    place = 0
    while place < len(text):
        match = _PART.match(text, place)
        if match is None or match.end() == place:
            raise ValueError(text)
        before, ranges, after = match.groups()
        inside = [""] if ranges is None else _ranges(ranges)
        found += [f"{before}{one}{after}" for one in inside if before or one]
        place = match.end()
        if place < len(text):
            if text[place] != ",":
                raise ValueError(text)
            place += 1
    return found


def fold(names: Iterable[str]) -> str:
    """a1, a2, b as ``a[1-2],b``: in order, each once."""
    ordered = sorted(set(names), key=sort_key)
    groups: list[tuple[str, list[str]]] = []
    for name in ordered:
        match = _NAME.match(name)
        head, digits = (match[1], match[2]) if match else (name, "")
        if groups and digits and groups[-1][0] == head and groups[-1][1]:
            groups[-1][1].append(digits)
        else:
            groups.append((head, [digits] if digits else []))
    return ",".join(_folded(head, digits) for head, digits in groups)


def sort_key(name: str) -> tuple[str, int, int]:
    """Orders names by their numbers."""
    match = _NAME.match(name)
    return (match[1], len(match[2]) if match[2].startswith("0") else 0, int(match[2])) if match else (name, 0, -1)


def _ranges(text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise ValueError(text)
        width = len(low) if low.startswith("0") else 0
        found += [str(one).zfill(width) for one in range(int(low), int(high or low) + 1)]
    return found


def _folded(head: str, digits: list[str]) -> str:
    if len(digits) < 2:  # noqa: PLR2004 - nothing to fold
        return head + "".join(digits)
    runs: list[list[str]] = []
    for one in digits:
        if runs and int(one) == int(runs[-1][-1]) + 1 and len(one) >= len(runs[-1][-1]):
            runs[-1][1:] = [one]
        else:
            runs.append([one])
    return f"{head}[{','.join('-'.join(run) for run in runs)}]"
