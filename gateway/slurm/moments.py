"""Points in time as Slurm's commands take them: ``now+1hour``, ``16:00``, ``tomorrow``, ``2030-01-02T03:04``.

Invariant: the answer has the zone of the ``now`` that was given; a time of day that has passed is tomorrow's.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_HOURS = {"midnight": 0, "elevenses": 11, "noon": 12, "fika": 15, "teatime": 16}
_UNITS = {"": 1, "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_NOW = re.compile(r"now(?:\s*([+-])\s*(\d{1,9})\s*([a-z]*))?", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([ap]m)?", re.ASCII)
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_US = re.compile(r"(\d{1,2})/(\d{1,2})(?:/(\d{2}))?|(\d{2})(\d{2})(\d{2})", re.ASCII)


def moment(text: str, now: datetime) -> datetime:
    """The time that ``text`` means at ``now`` (sbatch(1), --begin). Raises ``ValueError``.

    >>> moment("noon tomorrow", datetime(2030, 1, 2, 9)).isoformat()
    '2030-01-03T12:00:00'
    """
    text = text.strip().lower()
    relative = _NOW.fullmatch(text)
    if relative:
        return (now + _offset(*relative.groups(default=""))).replace(microsecond=0)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    day: datetime | None = None
    hour: timedelta | None = None
    for word in re.split(r"t(?=\d)|\s+(?![ap]m)", text):
        found = _clock(word)
        if found is not None and hour is None:
            hour = found
        elif found is None and day is None:
            day = _day(word, midnight)
        else:
            raise ValueError(text)
    if day is None:
        at = midnight + (hour or timedelta())
        return at if at > now else at + timedelta(days=1)
    return day + (hour or timedelta())


def _offset(sign: str, amount: str, unit: str) -> timedelta:
    seconds = int(amount or 0) * _UNITS[unit.removesuffix("s")] if unit.removesuffix("s") in _UNITS else None
    if seconds is None:
        raise ValueError(unit)
    return timedelta(seconds=-seconds if sign == "-" else seconds)


def _clock(word: str) -> timedelta | None:
    """A time of day since midnight; None when ``word`` is none."""
    if word in _HOURS:
        return timedelta(hours=_HOURS[word])
    match = _CLOCK.fullmatch(word)
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if match[4]:
        if not 1 <= hour <= 12:  # noqa: PLR2004 - the hours of a twelve-hour clock
            raise ValueError(word)
        hour = hour % 12 + (12 if match[4] == "pm" else 0)
    # datetime refuses hours, minutes and seconds out of range
    datetime(2000, 1, 1, hour, minute, second)  # noqa: DTZ001 - only its range checks are wanted
    return timedelta(hours=hour, minutes=minute, seconds=second)


def _day(word: str, midnight: datetime) -> datetime:
    if word in {"today", "tomorrow"}:
        return midnight + timedelta(days=int(word == "tomorrow"))
    if match := _ISO.fullmatch(word):
        return midnight.replace(year=int(match[1]), month=int(match[2]), day=int(match[3]))
    if match := _US.fullmatch(word):
        month, day, year = (match[1], match[2], match[3]) if match[1] else (match[4], match[5], match[6])
        if year:
            return midnight.replace(year=2000 + int(year), month=int(month), day=int(day))
        date = midnight.replace(month=int(month), day=int(day))
        return date if date >= midnight else date.replace(year=date.year + 1)
    raise ValueError(word)
