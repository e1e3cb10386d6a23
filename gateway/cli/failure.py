"""What a command says when it fails, and the exit code that it ends with.

Invariant: one line, that ends with what to do next; a script's error starts with its file and line.
"""

from __future__ import annotations

import sys

import click

from gateway.errors import (
    BurstError,
    InputMissing,
    InvalidRequest,
    NotAllowed,
    NotFound,
    OptionError,
    SchedulerRefused,
    ScriptError,
)

_NEXT_STEPS: tuple[tuple[type[BurstError], str], ...] = (
    (ScriptError, "mend the script"),
    (NotFound, "burst jobs lists your jobs"),
    (NotAllowed, "burst whoami says who you are"),
    (InvalidRequest, "see --help"),
    (SchedulerRefused, "change what Slurm objects to"),
)
_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


def explain(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code of ``error``."""
    match error:
        case BurstError():
            sentence, code = _sentence(error), exit_code(error)
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "burst"
            sentence, code = f"{error.format_message().rstrip('.')}; see {command} --help", error.exit_code
        case click.ClickException():
            sentence, code = error.format_message(), error.exit_code
        case OSError():
            what = f"{error.filename or 'system'}: {error.strerror or error}"
            sentence, code = f"{what}; check the path and its rights", 1
        case _:
            sentence, code = "interrupted; a submitted job goes on: burst jobs", _INTERRUPTED
    return " ".join(sentence.split()), code


def misfit(error: ValueError) -> OptionError | None:
    """What was typed and fits no request of the API; None for another ValueError."""
    # Whoever raised it has loaded pydantic; a command that needs none is not to wait for it.
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(error, pydantic.ValidationError):
        return None
    # What was typed is not repeated: it may be a password or a code.
    first = error.errors(include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return OptionError(f"{field}: {first['msg']}", hint="see --help")


def exit_code(error: BurstError) -> int:
    """The code that sbatch itself would end with, where it has one; otherwise 1."""
    return error.exit_code if isinstance(error, ScriptError | OptionError) else 1


def _sentence(error: BurstError) -> str:
    place = error.field if isinstance(error, ScriptError | InputMissing) and error.field else ""
    # The line is in the place already.
    what = error.detail.removeprefix(f"line {place.rpartition(':')[2]}: ").rstrip(".")
    return (f"{place}: " if place else "") + f"{what}; {error.hint or _next_step(error)}"


def _next_step(error: BurstError) -> str:
    """What to do about an error that does not say it itself."""
    if error.retryable:
        return "try again"
    return next((step for kind, step in _NEXT_STEPS if isinstance(error, kind)), "the gateway's log may say more")
