"""Values of sbatch's options as fields of slurmrestd's job description, v0.0.42.

Invariant: a converter accepts what sbatch 24.11 accepts or raises ``BadValueError`` with sbatch's words and exit code,
``{name}`` standing for the option. Names of fields are those of Slurm's own OpenAPI document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from gateway.slurm import units

Fields = Mapping[str, object]
Converter = Callable[[str, datetime], Fields]
"""Value as typed and the time of day → fields of the job description."""

FATAL = 1
"""sbatch's exit code where a value, rather than an option, is wrong."""


class BadValueError(ValueError):
    """An option's value is wrong; ``text`` has ``{name}`` where the option's name goes."""

    def __init__(self, text: str = "Invalid --{name} specification", exit_code: int = 255) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


def nothing(_value: str, _now: datetime) -> Fields:
    """Says nothing to Slurm."""
    return {}


def text(field: str) -> Converter:
    """The value itself."""
    return lambda value, _now: {field: value}


def listed(field: str) -> Converter:
    """The value as the only item of a list that Slurm joins with commas."""
    return lambda value, _now: {field: [value]}


def flag(**fields: object) -> Converter:
    """The same fields whatever the value."""
    return lambda _value, _now: fields


def number(field: str, *, least: int = 1) -> Converter:
    """A whole number of at least ``least``."""
    return lambda value, _now: {field: whole(value, least)}


def whole(value: str, least: int = 1) -> int:
    """A whole number of at least ``least`` (0 or 1) in sbatch's form."""
    try:
        return 0 if least == 0 and re.fullmatch(r"\+?0+", value) else units.count(value)
    except OverflowError as error:
        raise BadValueError(f"Numeric argument ({value}) too large for --{{name}}.", FATAL) from error
    except ValueError as error:
        raise BadValueError(f'Invalid numeric value "{value}" for --{{name}}.', FATAL) from error


def memory(field: str) -> Converter:
    """Megabytes in the form of a number that may be unset."""
    return lambda value, _now: {field: some(megabytes(value))}


def time_limit(field: str) -> Converter:
    """Minutes in the form of a number that may be infinite."""

    def convert(value: str, _now: datetime) -> Fields:
        minutes = guarded(units.minutes, value)
        return {field: {"set": True, "infinite": True} if minutes == units.UNLIMITED else some(minutes)}

    return convert


def choice(field: str, **values: object) -> Converter:
    """One of a few words, in any case."""

    def convert(value: str, _now: datetime) -> Fields:
        if value.lower() not in values:
            raise BadValueError
        return {field: values[value.lower()]}

    return convert


def yes_no_number(field: str, yes: object, no: object) -> Converter:
    """``1`` or ``0``."""

    def convert(value: str, _now: datetime) -> Fields:
        if whole(value or "1", least=0) > 1:
            raise BadValueError
        return {field: yes if value != "0" else no}

    return convert


def some(value: int) -> dict[str, object]:
    """A number that may be unset, set."""
    return {"set": True, "number": value}


def megabytes(value: str) -> int:
    """Memory in megabytes."""
    return guarded(units.megabytes, value)


def guarded(read: Callable[[str], int], value: str) -> int:
    """What ``read`` makes of the value; its ``ValueError`` becomes sbatch's words."""
    try:
        return read(value)
    except ValueError as error:
        raise BadValueError from error
