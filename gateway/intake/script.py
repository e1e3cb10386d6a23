"""Which lines of a job script are directives, and which scripts sbatch refuses outright.

Invariant: the script itself is never changed; every complaint has its line and sbatch's exit code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.errors import ScriptError

MAX_BYTES = 4 * 1024 * 1024
"""slurm.conf's max_script_size, as Slurm has it by default."""

SBATCH = "#SBATCH"
SLURM = "#SLURM"
"""The second magic word: honoured, with a warning."""
BURST = "#BURST"
FOREIGN = ("#PBS", "#BSUB")
FOREIGN_SEARCH = 100
"""sbatch looks for other schedulers' lines until it has passed this many lines that are no comments."""

_MAGIC = (SBATCH, SLURM, BURST)


@dataclass(frozen=True)
class Directive:
    """A directive line: its number from 1, its magic word, and the line itself."""

    number: int
    magic: str
    line: str


def decode(data: bytes) -> str:
    """A script's text, for what reads one from a file. Raises ``ScriptError`` if it is too large or not UTF-8."""
    _check_size(len(data))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScriptError("Batch script is not UTF-8 text", line=line, hint="convert it with iconv(1)") from error


def check(text: str) -> None:
    """Raise ``ScriptError`` (exit code 1) for a script that sbatch or slurmctld does not take."""
    _check_size(len(text.encode(errors="surrogatepass")))
    if not text:
        raise ScriptError("Batch script is empty!", hint="give the path of a job script")
    if not text.strip(" \t\n\r\v\f"):
        raise ScriptError("Batch script contains only whitespace!", line=1, hint="give the path of a job script")
    if not text.startswith("#!"):
        raise ScriptError(
            "This does not look like a batch script.  The first line must start with #! followed by the path to an"
            " interpreter.",
            line=1,
            column=1,
            hint="begin it with #!/bin/sh or another interpreter; no blank or byte-order mark may come before",
        )
    if "\0" in text:
        raise _at(text, "\0", "The Slurm controller does not allow scripts that contain a NULL character '\\0'.")
    if "\r\n" in text:
        message = "Batch script contains DOS line breaks (\\r\\n) instead of expected UNIX line breaks (\\n)."
        raise _at(text, "\r\n", message, hint="convert it with dos2unix(1)")


def directives(text: str) -> Iterator[Directive]:
    """Lines that begin, in the first column, with ``#SBATCH``, ``#SLURM`` or ``#BURST``, before the first command.

    Blank lines and comments do not end the search; anything else does (sbatch(1), DESCRIPTION).
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            return
        magic = next((word for word in _MAGIC if line.startswith(word)), None)
        if magic:
            yield Directive(number, magic, line)


def foreign(text: str) -> Directive | None:
    """The first line for another scheduler that sbatch would translate."""
    commands = 0
    for number, line in enumerate(text.split("\n"), start=1):
        magic = next((word for word in FOREIGN if line.startswith(word)), None)
        if magic:
            return Directive(number, magic, line)
        commands += not line.lstrip().startswith("#")
        if commands > FOREIGN_SEARCH:
            return None
    return None


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ScriptError(
            f"Batch script has {size} bytes, the most is {MAX_BYTES}: Pathname of a file, directory or other parameter"
            " too long",
            hint="move data out of the script and name it with #BURST --stage-in",
        )


def _at(text: str, what: str, message: str, hint: str | None = None) -> ScriptError:
    place = text.index(what)
    return ScriptError(
        message, line=text.count("\n", 0, place) + 1, column=place - text.rfind("\n", 0, place), exit_code=1, hint=hint
    )
