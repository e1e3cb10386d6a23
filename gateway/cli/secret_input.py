"""Passwords and codes as they are asked for: from a terminal, a file or stdin.

Invariant: none of them is an argument of a command, where every user of the machine could read it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.errors import CodeNeeded, OptionError

T = TypeVar("T")
_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)

password_option: Callable[[Any], Any] = click.option(
    "--password-file", type=_FILE, help="Read the password from this file; - is stdin."
)
code_option: Callable[[Any], Any] = click.option(
    "--code-file", type=_FILE, help="Read the code of your authenticator app from this file; - is stdin."
)
new_password_option: Callable[[Any], Any] = click.option(
    "--new-password-file", type=_FILE, help="Read the new password from this file; - is stdin."
)


def password_of(file: Path | None, user: str) -> str:
    """A user's password. Raises OptionError where nobody can be asked."""
    return _asked(file, f"Password of {user}", "--password-file")


def new_password(file: Path | None) -> str:
    """A password that is chosen now, typed twice on a terminal."""
    return _asked(file, "New password", "--new-password-file", twice=True)


def code_of(file: Path | None) -> str:
    """The code that the authenticator app shows."""
    return _asked(file, "Code of your authenticator app", "--code-file", hidden=False)


def with_code(act: Callable[[str | None], T], file: Path | None) -> T:
    """``act(None)``, and if the gateway says that a code is needed, ``act(CODE)``."""
    if file is not None:
        return act(code_of(file))
    try:
        return act(None)
    except CodeNeeded:
        return act(code_of(None))


def secret_of(file: Path | None, what: str, option: str) -> str:
    """Another one-time secret: an invitation, a recovery code."""
    return _asked(file, what, option)


def _asked(file: Path | None, what: str, option: str, *, hidden: bool = True, twice: bool = False) -> str:
    if file is not None:
        # A line of stdin each, so that one pipe can hold a password and a code.
        text = sys.stdin.readline() if str(file) == "-" else file.read_text()
        return text.rstrip("\r\n")
    if not sys.stdin.isatty():
        hint = f"give {option} FILE, or - for stdin"
        raise OptionError(f"there is no terminal to ask for: {what}", option=option, hint=hint, exit_code=2)
    answer: str = click.prompt(what, hide_input=hidden, confirmation_prompt=twice, err=True)
    return answer
