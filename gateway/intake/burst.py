"""``#BURST`` lines: what the gateway itself does for a job, in comments that a plain Slurm passes over.

Invariant: a destination stays below the job's working directory and is asked for once; an unknown option is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath

from gateway.errors import ScriptError
from gateway.intake import tokens
from gateway.intake.script import Directive

MICRO = 1_000_000
"""Micro-credits in a credit."""

_KNOWN = frozenset({"stage-in", "stage-out", "account-to", "max-cost", "units", "output-size", "market"})
_REFUSED = {
    "publish": "a job is published once it has ended: burst publish ID --title …",
}
_UNITS = re.compile(r"([a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)*@v[1-9][0-9]{0,3}):([1-9][0-9]{0,11})", re.ASCII)
_AMOUNT = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([BKMGT])?", re.ASCII)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Input:
    """One ``--stage-in``: a path as the submitter's machine has it, and where the job finds it."""

    source: str
    destination: str
    line: int


@dataclass(frozen=True)
class Units:
    """``--units``: at most ``quantity`` simulation units of one kind a task."""

    code: str
    quantity: int
    line: int


@dataclass(frozen=True)
class Requests:
    """All that a script's ``#BURST`` lines ask for."""

    stage_in: tuple[Input, ...] = ()
    stage_out: tuple[str, ...] = ()
    """Globs below the working directory; none: every new or changed file."""
    account_to: str | None = None
    max_cost_ucr: int | None = None
    units: Units | None = None
    output_bytes: int = 0
    """What a task will leave, by its owner's estimate; 0: not told."""
    on_demand: bool = False
    """``--market=on-demand``: no machines that are taken back at short notice."""


def read(lines: Iterable[Directive]) -> Requests:
    """Read ``#BURST`` lines: inputs, outputs and their size, account, most cost, simulation units, market.

    Raises ``ScriptError`` with the line: an unknown option, a bad value, a destination outside the working directory
    or named twice.
    """
    words = [word for line in lines for word in tokens.words(line.line, line.number, len(line.magic))]
    stage_in: dict[str, Input] = {}
    stage_out: list[str] = []
    account: str | None = None
    cost: int | None = None
    units: Units | None = None
    output_bytes, on_demand = 0, False
    for word in words:
        name, value = _split(word)
        match name:
            case "stage-in":
                item = _input(value, word)
                _refuse_clash(item, stage_in, word)
                stage_in[item.destination] = item
            case "stage-out":
                stage_out.append(_below(value, word))
            case "account-to":
                account = value
            case "units":
                units = _units(value, word, units)
            case "output-size":
                output_bytes = _size(value, word)
            case "market":
                on_demand = _market(value, word)
            case _:
                cost = _credits(value, word)
    return Requests(tuple(stage_in.values()), tuple(stage_out), account, cost, units, output_bytes, on_demand)


def destination_of(path: str) -> str:
    """A destination in its shortest form. Raises ``ValueError`` for one that leaves the working directory."""
    parts = PurePosixPath(path).parts
    if not parts or path.endswith("/") or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(path)
    return str(PurePosixPath(path))


def _split(word: tokens.Word) -> tuple[str, str]:
    """Name and value of a ``--name=value`` word."""
    name, equals, value = word.text.removeprefix("--").partition("=")
    if name in _REFUSED:
        raise _wrong(word, f"#BURST --{name} is not supported: {_REFUSED[name]}", "remove it")
    if not word.text.startswith("--") or name not in _KNOWN:
        known = (
            "--stage-in=SRC[:DEST], --stage-out=GLOB, --output-size=SIZE, --account-to=NAME, --max-cost=CREDITS, "
            "--units=CODE:N and --market=on-demand|any"
        )
        raise _wrong(word, f"unknown #BURST option: {word.text}", f"there are {known}")
    if not equals or not value:
        raise _wrong(word, f"#BURST --{name} needs a value", f"write --{name}=VALUE, without a blank around =")
    return name, value


def _input(value: str, word: tokens.Word) -> Input:
    """A source and its destination; the last colon divides them, unless it belongs to ``scheme://``."""
    scheme = _SCHEME.match(value)
    if scheme:
        raise _wrong(
            word,
            f"#BURST --stage-in={value}: sources with {scheme[1]}:// are not supported yet",
            "download it first and name the file",
        )
    source, colon, destination = value.rpartition(":")
    if not colon:
        source, destination = value, PurePosixPath(value).name
    if not source or not destination:
        raise _wrong(word, f"#BURST --stage-in={value}: no source or no destination", "write --stage-in=SRC[:DEST]")
    return Input(source, _below(destination, word), word.line)


def _below(path: str, word: tokens.Word) -> str:
    try:
        return destination_of(path)
    except ValueError as error:
        raise _wrong(
            word,
            f"{path!r} is not a path of a file below the job's working directory",
            "use a relative path without ..",
        ) from error


def _refuse_clash(item: Input, others: dict[str, Input], word: tokens.Word) -> None:
    """Two inputs cannot be one file, nor can one be the other's directory."""
    path = PurePosixPath(item.destination)
    for name, other in others.items():
        if name == item.destination or PurePosixPath(name) in path.parents or path in PurePosixPath(name).parents:
            raise _wrong(
                word,
                f"#BURST --stage-in: destination {item.destination!r} is taken by line {other.line}",
                "give one of them another destination: --stage-in=SRC:DEST",
            )


def _credits(value: str, word: tokens.Word) -> int:
    """Credits, to six decimals, in micro-credits."""
    amount = Decimal(value) * MICRO if _AMOUNT.fullmatch(value) else Decimal(0)
    if not amount:
        raise _wrong(word, f"#BURST --max-cost={value}: not an amount of credits", "write for example --max-cost=2.5")
    return int(amount)


def _units(value: str, word: tokens.Word, before: Units | None) -> Units:
    """A unit's code and how many; a job is paid in one kind."""
    if before is not None:
        raise _wrong(word, f"#BURST --units: line {before.line} has ordered {before.code} already", "order one kind")
    if not (match := _UNITS.fullmatch(value)):
        raise _wrong(word, f"#BURST --units={value}: not CODE:N", "write for example --units=mc.sweep@v1:10000")
    return Units(match[1], int(match[2]), word.line)


def _size(value: str, word: tokens.Word) -> int:
    """Bytes of a number with K, M, G or T, which are powers of 1000."""
    if not (match := _SIZE.fullmatch(value)):
        raise _wrong(word, f"#BURST --output-size={value}: not a size", "write for example --output-size=20G")
    return int(Decimal(match[1]) * 1000 ** "BKMGT".index(match[2] or "B"))


def _market(value: str, word: tokens.Word) -> bool:
    if value not in {"on-demand", "any"}:
        raise _wrong(word, f"#BURST --market={value}: not a market", "write --market=on-demand or --market=any")
    return value == "on-demand"


def _wrong(word: tokens.Word, message: str, hint: str) -> ScriptError:
    return ScriptError(message, line=word.line, column=word.column, exit_code=255, hint=hint)
