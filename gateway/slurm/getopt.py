"""getopt_long(3) over sbatch's table, to the letter: abbreviations, joined values, stop at the first other word.

Invariant: the same words give the same options, or the same complaint, as sbatch 24.11 (tests/recorded).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.errors import OptionError
from gateway.slurm.option_table import TABLE, Argument, Option

TRY_HELP = 'Try "sbatch --help" for more information'

LONG: dict[str, Option] = {name: option for option in TABLE for name in (*option.aliases, option.name)}
SHORT: dict[str, Option] = {option.short: option for option in TABLE if option.short}


class MisuseError(OptionError):
    """A word that getopt does not accept; ``index`` is its place among the words."""

    def __init__(self, detail: str, *, index: int, option: str | None = None) -> None:
        super().__init__(detail, option=option, hint=TRY_HELP)
        self.index = index


@dataclass(frozen=True)
class Given:
    """An option as given: its value ("" for none) and the place of its word."""

    option: Option
    value: str
    index: int


def scan(words: Sequence[str]) -> Iterator[Given | int]:
    """Each option in order, then the index of the first word that is none of them (``len(words)``: all were).

    Raises ``MisuseError``.
    """
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            index += 1
            break
        if not word.startswith("-") or word == "-":
            break
        following = words[index + 1] if index + 1 < len(words) else None
        found, used = _long(word, following, index) if word.startswith("--") else _short(word, following, index)
        yield from found
        index += 1 + used
    yield index


def resolve(name: str, word: str, index: int = 0) -> tuple[str, Option]:
    """The full name and option that ``name`` stands for, itself or an unambiguous beginning of one."""
    if name in LONG:
        return name, LONG[name]
    matches = [full for full in LONG if full.startswith(name)]
    if not matches:
        raise MisuseError(f"unrecognized option '{word}'", index=index, option=word)
    if len({LONG[full].name for full in matches}) > 1:
        possible = " ".join(f"'--{full}'" for full in matches)
        raise MisuseError(f"option '{word}' is ambiguous; possibilities: {possible}", index=index, option=word)
    return matches[0], LONG[matches[0]]


def _long(word: str, following: str | None, index: int) -> tuple[list[Given], int]:
    """A long option, and how many of the following words it used."""
    name, equals, value = word[2:].partition("=")
    full, option = resolve(name, word, index)
    if option.argument is Argument.NONE and equals:
        raise MisuseError(f"option '--{full}' doesn't allow an argument", index=index, option=f"--{full}")
    if option.argument is not Argument.REQUIRED or equals:
        return [Given(option, value, index)], 0
    if following is None:
        raise MisuseError(f"option '--{full}' requires an argument", index=index, option=f"--{full}")
    return [Given(option, following, index)], 1


def _short(word: str, following: str | None, index: int) -> tuple[list[Given], int]:
    """A bundle of short options, the last of which may have a value."""
    found: list[Given] = []
    for place, letter in enumerate(word[1:], start=2):
        option = SHORT.get(letter)
        if option is None:
            raise MisuseError(f"invalid option -- '{letter}'", index=index, option=f"-{letter}")
        if option.argument is Argument.NONE:
            found.append(Given(option, "", index))
            continue
        value, used = word[place:], 0
        if not value and option.argument is Argument.REQUIRED:
            if following is None:
                raise MisuseError(f"option requires an argument -- '{letter}'", index=index, option=f"-{letter}")
            value, used = following, 1
        return [*found, Given(option, value, index)], used
    return found, 0
