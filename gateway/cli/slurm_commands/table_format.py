"""TableFormat: ``-o`` of squeue and sinfo: fields such as ``%.10i`` between other text.

Invariant: a field that is not known is printed as it was written, after a complaint, as Slurm does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.cli.slurm_commands.values import padded

Record = Mapping[str, Any]

_FIELD = re.compile(r"%+(\.?)([0-9]*)(.?)", re.DOTALL)


@dataclass(frozen=True)
class Column:
    """A field's header and value. ``cut``: whether a value that is too long is cut off."""

    header: str
    value: Callable[[Record], str]
    cut: bool | Callable[[Record], bool] = True


@dataclass(frozen=True)
class Piece:
    """Text, or a column with its width."""

    text: str = ""
    column: Column | None = None
    width: int = 0
    right: bool = False


def read(program: str, kind: str, text: str, columns: Mapping[str, Column]) -> list[Piece]:
    """The pieces of a format; what is no field is told on stderr."""
    pieces: list[Piece] = []
    place = 0
    for match in _FIELD.finditer(text):
        pieces.append(Piece(text[place : match.start()]))
        place = match.end()
        dot, width, letter = match.groups()
        if letter in columns:
            pieces.append(Piece(column=columns[letter], width=int(width or 0), right=bool(dot)))
        else:
            sys.stderr.write(f"{program}: error: Invalid {kind} format specification: {letter}\n")
            pieces.append(Piece(f"%{dot}{width}{letter}"))
    return [piece for piece in (*pieces, Piece(text[place:])) if piece.text or piece.column]


def line(pieces: list[Piece], record: Record | None) -> str:
    """A record's line; the header's for None."""
    return "".join(_shown(piece, record) for piece in pieces) + "\n"


def _shown(piece: Piece, record: Record | None) -> str:
    if piece.column is None:
        return piece.text
    if record is None:
        return padded(piece.column.header, piece.width, right=piece.right)
    cut = piece.column.cut
    whole = cut if isinstance(cut, bool) else cut(record)
    return padded(piece.column.value(record), piece.width, right=piece.right, cut=whole)
