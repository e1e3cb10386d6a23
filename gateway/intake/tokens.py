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
    """The word that is being read, and the quote that is open in it."""

    letters: list[str] = field(default_factory=list)
    quote: str = ""


def words(line: str, number: int, start: int) -> Iterator[Word]:
    """The words of ``line`` (the ``number``-th of the script) from index ``start`` on.

    A quote may begin anywhere in a word, a backslash takes the next letter as it is even in quotes, a bare ``#``
    ends the line even inside a word, and so does an empty word. Raises ``ScriptError`` (sbatch ends with 1) for an
    open quote and for a word that begins with ``:``.
    """
    rest = place = _past_blanks(line, start)
    while place < len(line) and line[place] != "#":
        if line[place] == ":":
            raise _wrong("Unexpected `:`", line[rest:], number, place, "heterogeneous jobs are not supported")
        word, end = _word(line, place)
        if word.quote:
            raise _wrong(f"Unmatched `{word.quote}`", line[rest:], number, place, f"close the quote {word.quote}")
        text = "".join(word.letters)
        if not text:
            return
        yield Word(text, number, place + 1)
        rest, place = end, _past_blanks(line, end)


def _past_blanks(line: str, place: int) -> int:
    while place < len(line) and line[place] in _BLANK:
        place += 1
    return place


def _word(line: str, place: int) -> tuple[_Open, int]:
    """The word at ``place``, and where it ends."""
    word = _Open()
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
    return word, place


def _inside(word: _Open, letter: str) -> None:
    if letter == word.quote:
        word.quote = ""
    else:
        word.letters.append(letter)


def _wrong(what: str, rest: str, number: int, place: int, hint: str) -> ScriptError:
    return ScriptError(f"{what} in [{rest}]", line=number, column=place + 1, exit_code=1, hint=hint)
