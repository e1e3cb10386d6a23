"""What a command says when it fails, and the exit code that it ends with.

Invariant: one line, that ends with what to do next; a script's error starts with its file and line.
"""

from __future__ import annotations

import click

from gateway.errors import BurstError, InputMissing, OptionError, ScriptError

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


def exit_code(error: BurstError) -> int:
    """The code that sbatch itself would end with, where it has one; otherwise 1."""
    return error.exit_code if isinstance(error, ScriptError | OptionError) else 1


def _sentence(error: BurstError) -> str:
    where = f"{error.field}: " if isinstance(error, ScriptError | InputMissing) and error.field else ""
    return f"{where}{error.detail.rstrip('.')}" + (f"; {error.hint}" if error.hint else "")
