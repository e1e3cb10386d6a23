"""What a job script asks for: sbatch's options from its ``#SBATCH`` lines, ours from its ``#BURST`` lines.

Invariant: what sbatch refuses is refused here, with the line, the column and sbatch's exit code. No pydantic and no
server package is imported: the command reads scripts with this module too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.errors import OptionError, ScriptError
from gateway.intake import burst, script, tokens
from gateway.slurm import options as slurm
from gateway.slurm.getopt import MisuseError, scan

INVALID_DIRECTIVE = "Invalid directive found in batch script: "
_EARLY = frozenset({"wrap", "quiet", "verbose", "help", "version", "usage", "autocomplete"})
"""sbatch looks for these on the command line only."""


@dataclass(frozen=True)
class Directives:
    """A script's own requests."""

    options: Mapping[str, str]
    """Long names of sbatch's options → values as given."""
    burst: burst.Requests
    warnings: tuple[str, ...] = ()
    """What sbatch would print and go on."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """Option → line that set it last."""


def read(text: str, *, ignore_pbs: bool = False) -> Directives:
    r"""Check a script and read its directives.

    Raises ``ScriptError``: a script that sbatch does not take, an unknown or malformed directive.

    >>> read("#!/bin/sh\n#SBATCH -N2 --time=5\nhostname\n").options
    {'nodes': '2', 'time': '5'}
    """
    script.check(text)
    found = list(script.directives(text))
    requests = burst.read(line for line in found if line.magic == script.BURST)
    options, lines = _sbatch(word for line in found if line.magic != script.BURST for word in _words(line))
    if not (ignore_pbs or "ignore-pbs" in options):
        _refuse_foreign(text)
    warned = [line.number for line in found if line.magic == script.SLURM]
    warnings = tuple(f"line {number}: change from #SLURM to #SBATCH in your script" for number in warned)
    return Directives(options, requests, warnings, lines)


def _words(line: script.Directive) -> Iterable[tokens.Word]:
    found = list(tokens.words(line.line, line.number, len(line.magic)))
    if found and found[0].text.lower() in {"hetjob", "packjob"}:
        raise ScriptError(
            "heterogeneous jobs are not supported: the gateway prices and provides one kind of node a job",
            line=line.number,
            column=found[0].column,
            hint="submit the components as jobs of their own, joined by --dependency=after:ID",
        )
    return found


def _sbatch(found: Iterable[tokens.Word]) -> tuple[dict[str, str], dict[str, int]]:
    """All directives as one command line, as sbatch takes them: an option's value may stand on the next line."""
    words = list(found)
    options: dict[str, str] = {}
    lines: dict[str, int] = {}
    place = 0
    try:
        for item in scan([word.text for word in words]):
            if isinstance(item, int):
                _refuse_leftover(words[item:])
                continue
            place = item.index
            if item.option.name not in _EARLY:
                slurm.check(item.option, item.value)
                slurm.put(options, item.option, item.value)
                lines[item.option.name] = words[place].line
    except MisuseError as error:
        raise _located(error, words[error.index]) from error
    except OptionError as error:
        raise _located(error, words[place]) from error
    return options, lines


def _refuse_leftover(words: list[tokens.Word]) -> None:
    if words:
        raise ScriptError(
            INVALID_DIRECTIVE + words[0].text,
            line=words[0].line,
            column=words[0].column,
            exit_code=255,
            hint="a directive holds options only, and an option's value may not begin with a blank",
        )


def _refuse_foreign(text: str) -> None:
    found = script.foreign(text)
    if found:
        raise ScriptError(
            f"{found.magic} lines are not translated",
            line=found.number,
            column=1,
            hint="write it as #SBATCH, or submit with --ignore-pbs",
        )


def _located(error: OptionError, word: tokens.Word) -> ScriptError:
    return ScriptError(error.detail, line=word.line, column=word.column, exit_code=error.exit_code, hint=error.hint)
