"""The words of a directive line, as sbatch splits them: quotes, backslashes and comments, and nothing of a shell.

Invariant: each word keeps the column, from 1, where it begins in the script.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.errors import ScriptError

_BLANK = " \t\r\n\v\f"
_QUOTES = "\"'"


@dataclass(frozen=True)
class Word:
    """One word of a directive and where it stands."""

    text: str
    line: int
    column: int


@dataclass
class _Open:
    """The word that is being read."""

    start: int
    letters: list[str] = field(default_factory=list)
    quote: str = ""


def words(line: str, number: int, start: int) -> Iterator[Word]:
    """The words of ``line`` (the ``number``-th of the script) from index ``start`` on.

    A quote may begin anywhere in a word, a backslash takes the next letter as it is even in quotes, a bare ``#``
    ends the line even inside a word, and so does an empty word. Raises ``ScriptError`` (sbatch ends with 1) for an
    open quote and for a word that begins with ``:``.
    """
    place = start
    while True:
        while place < len(line) and line[place] in _BLANK:
            place += 1
        if place >= len(line) or line[place] == "#":
            return
        if line[place] == ":":
            raise _unexpected(line[start:], number, place)
        text, place, begun = _word(line, number, place)
        if not text:
            return
        yield Word(text, number, begun + 1)
        if place < len(line) and line[place] == "#":
            return


def _word(line: str, number: int, place: int) -> tuple[str, int, int]:
    """The word at ``place``, where it ends, and where it began."""
    word = _Open(place)
    while place < len(line):
        letter = line[place]
        if letter == "\\":
            place += 1
            word.letters.append(line[place : place + 1])
        elif word.quote:
            _inside(word, letter)
        elif letter in _BLANK or letter == "#":
            break
        elif letter in _QUOTES:
            word.quote = letter
        else:
            word.letters.append(letter)
        place += 1
    if word.quote:
        raise ScriptError(
            f"Unmatched `{word.quote}` in [{line[word.start :]}]",
            line=number,
            column=word.start + 1,
            exit_code=1,
            hint=f"close the quote {word.quote}",
        )
    return "".join(word.letters), place, word.start


def _inside(word: _Open, letter: str) -> None:
    if letter == word.quote:
        word.quote = ""
    else:
        word.letters.append(letter)


def _unexpected(text: str, number: int, place: int) -> ScriptError:
    return ScriptError(
        f"Unexpected `:` in [{text}]",
        line=number,
        column=place + 1,
        exit_code=1,
        hint="components of a heterogeneous job are not supported in directives",
    )
