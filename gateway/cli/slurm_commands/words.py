"""Words: a command line as getopt_long(3) reads it, with operands anywhere, as squeue, scancel, sinfo and sacct do.

Invariant: an option is known by its full name, its letter, or an unambiguous beginning of its name; complaints are
glibc's, in the voice of the program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.cli.slurm_commands.failure import Failure, refused


@dataclass(frozen=True)
class Option:
    """``value``: whether it takes one. ``reason``: why it is refused. ``optional``: its value may only be joined."""

    letter: str = ""
    value: bool = False
    reason: str = ""
    optional: bool = False


@dataclass
class Line:
    """What was typed: values by long name, in order; and the operands."""

    given: dict[str, list[str]] = field(default_factory=dict)
    operands: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether an option was given."""
        return name in self.given

    def last(self, name: str) -> str | None:
        """An option's last value."""
        return self.given[name][-1] if name in self.given else None

    def listed(self, name: str) -> list[str]:
        """All values of an option, split at commas."""
        return [part for value in self.given.get(name, ()) for part in value.split(",") if part]


def read(program: str, options: Mapping[str, Option], words: Sequence[str], *, usage: str = "") -> Line:
    """Split a command line. Raises Failure, also for an option that is refused."""
    line, left = Line(), iter(words)
    try_help = f'\nTry "{program} --help" for more information\n'
    try:
        for word in left:
            if word == "--":
                line.operands += left
            elif word.startswith("--"):
                _long(options, word, left, line)
            elif word.startswith("-") and word != "-":
                _short(options, word, left, line)
            else:
                line.operands.append(word)
    except _MisuseError as misuse:
        raise Failure(f"{program}: {misuse}{usage or try_help}".rstrip("\n")) from None
    for name in line.given:
        if options[name].reason:
            raise refused(program, f"--{name}", options[name].reason)
    return line


class _MisuseError(Exception):
    """A word that getopt does not take."""


def _long(options: Mapping[str, Option], word: str, left: Iterator[str], line: Line) -> None:
    name, equals, value = word[2:].partition("=")
    full = _full(options, name, word)
    option = options[full]
    if equals and not (option.value or option.optional):
        raise _MisuseError(f"option '--{full}' doesn't allow an argument")
    if option.value and not equals:
        found = next(left, None)
        if found is None:
            raise _MisuseError(f"option '--{full}' requires an argument")
        value = found
    line.given.setdefault(full, []).append(value)


def _full(options: Mapping[str, Option], name: str, word: str) -> str:
    if name in options:
        return name
    matches = [full for full in options if full.startswith(name)]
    if len(matches) > 1:
        raise _MisuseError(f"option '{word}' is ambiguous; possibilities: " + " ".join(f"'--{m}'" for m in matches))
    if not matches:
        raise _MisuseError(f"unrecognized option '{word}'")
    return matches[0]


def _short(options: Mapping[str, Option], word: str, left: Iterator[str], line: Line) -> None:
    letters = {option.letter: name for name, option in options.items() if option.letter}
    for place, letter in enumerate(word[1:], start=2):
        if letter not in letters:
            raise _MisuseError(f"invalid option -- '{letter}'")
        name = letters[letter]
        if not options[name].value:
            line.given.setdefault(name, []).append("")
            continue
        value = word[place:] or next(left, None)
        if value is None:
            raise _MisuseError(f"option requires an argument -- '{letter}'")
        line.given.setdefault(name, []).append(value)
        return
