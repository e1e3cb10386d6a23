"""A command line in sbatch's form, split where sbatch splits it: options, script, the script's own arguments.

Invariant: sbatch's options stay as typed and in order; the gateway's own are taken out only before the script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errors import OptionError
from gateway.slurm.getopt import MisuseError, scan

FLAGS = frozenset({"--json", "--dry-run"})
VALUED = frozenset({"--max-cost", "--stage-in"})
"""The gateway's own options; only their full names are known, and none is an option of sbatch's."""


@dataclass(frozen=True)
class CommandLine:
    """What was typed. ``sbatch`` are sbatch's options by long name, the last of each; ``own`` are the gateway's."""

    options: tuple[str, ...]
    sbatch: Mapping[str, str]
    script: str | None
    """None: the script comes from stdin, or from --wrap."""
    arguments: tuple[str, ...] = ()
    own: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def has(self, *names: str) -> bool:
        """Whether one of these options, of either kind, was given."""
        return any(name in self.sbatch or f"--{name}" in self.own for name in names)


def split(words: Sequence[str]) -> CommandLine:
    """Split ``[OPTIONS] [SCRIPT [ARGUMENTS]]``. Raises OptionError in sbatch's words, with its exit code.

    >>> split(["--exclusive", "--json", "job.sh", "--json"])
    CommandLine(options=('--exclusive',), sbatch={'exclusive': ''}, script='job.sh', arguments=('--json',), \
own={'--json': ['']})
    """
    left, own = list(words), dict[str, list[str]]()
    while True:
        try:
            *given, rest = scan(left)
        except MisuseError as misuse:
            # Not sbatch's: ours, or nobody's.
            name, value = _take_own(left, misuse)
            own.setdefault(name, []).append(value)
        else:
            break
    after = left[_place(rest) :]
    return CommandLine(
        options=tuple(left[: _place(rest)]),
        sbatch={item.option.name: item.value for item in given if not isinstance(item, int)},
        script=after[0] if after else None,
        arguments=tuple(after[1:]),
        own=own,
    )


def _take_own(words: list[str], misuse: MisuseError) -> tuple[str, str]:
    """Remove one of our options from ``words``; raise what getopt said if it is none."""
    name, equals, value = words[misuse.index].partition("=")
    if name in FLAGS and not equals:
        del words[misuse.index]
        return name, ""
    if name not in VALUED:
        misuse.hint = "burst submit --help; for sbatch's own options: man sbatch"
        raise misuse
    if not equals:
        if misuse.index + 1 == len(words):
            raise OptionError(f"option '{name}' requires an argument", option=name, hint=f"write {name}=VALUE")
        value = words.pop(misuse.index + 1)
    del words[misuse.index]
    return name, value


def _place(item: object) -> int:
    assert isinstance(item, int)  # noqa: S101 - scan ends with a place
    return item
