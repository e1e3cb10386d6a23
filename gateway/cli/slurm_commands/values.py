"""Values: numbers, times and sizes of slurmrestd's records, as Slurm's commands print them.

Invariant: pure text; a number that Slurm has not set is None, and infinity is INFINITE.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from gateway.cli.slurm_commands.failure import Failure

INFINITE = -1
_YEAR_S = 365 * 24 * 3600
_KILO = 1024


def number(value: object) -> int | None:
    """An integer, or Slurm's ``{"set": …, "infinite": …, "number": …}``."""
    if isinstance(value, Mapping):
        if value.get("infinite"):
            return INFINITE
        return int(value["number"]) if value.get("set") else None
    return int(value) if isinstance(value, int | float) else None


def or_null(text: object) -> str:
    """As C prints a string that is not there."""
    return str(text) if text else "(null)"


def seconds(length: int) -> str:
    """A length of time as squeue prints it: 0:05, 1:00:00, 2-00:00:00."""
    if not 0 <= length <= _YEAR_S:
        return "INVALID"
    days, rest = divmod(length, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def long_seconds(length: int) -> str:
    """A length of time as scontrol and sacct print it: 00:00:05, 1-02:00:00."""
    days, rest = divmod(max(0, length), 86400)
    clock = f"{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def minutes(length: int | None, unset: str = "NOT_SET") -> str:
    """A time limit as squeue and sinfo print it."""
    if length is None:
        return unset
    return "UNLIMITED" if length == INFINITE else seconds(length * 60)


def long_minutes(length: int | None, unset: str = "N/A") -> str:
    """A time limit as scontrol and sacct print it."""
    if length is None:
        return unset
    return "UNLIMITED" if length == INFINITE else long_seconds(length * 60)


def moment(value: object, none: str = "N/A") -> str:
    """A Unix time in the local zone, in the form that SLURM_TIME_FORMAT asks for. Raises Failure for "relative"."""
    when = number(value)
    if not when:
        return none
    form = os.environ.get("SLURM_TIME_FORMAT", "standard")
    if form == "relative":
        raise Failure("burst: error: SLURM_TIME_FORMAT=relative is not supported: unset it, or give a strftime format")
    return time.strftime("%Y-%m-%dT%H:%M:%S" if form == "standard" else form, time.localtime(when))


def today() -> str:
    """The line that long lists begin with."""
    return time.strftime("%a %b %d %H:%M:%S %Y")


def megabytes(size: int) -> str:
    """A size in MiB with the largest unit that divides it: 500M, 4G, 0."""
    units = "MGTPE"
    place = 0
    while size and size % _KILO == 0 and place < len(units) - 1:
        size, place = size // _KILO, place + 1
    return f"{size}{units[place]}" if size else "0"


def padded(text: str, width: int, *, right: bool, cut: bool = True) -> str:
    """A field of a table; a width of 0 is as wide as its text."""
    shown = text[:width] if width and cut else text
    return shown.rjust(width) if right else shown.ljust(width)


def flags(record: Mapping[str, Any], name: str) -> frozenset[str]:
    """A list of words."""
    return frozenset(record.get(name) or ())
