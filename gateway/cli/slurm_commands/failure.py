"""Failure: what a command says on stderr, to the letter, and the exit code that it ends with.

Invariant: stdout has what Slurm's command prints there and nothing else.
"""

from __future__ import annotations


class Failure(Exception):
    """Ends a command: ``text`` is all of what goes to stderr."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def refused(program: str, what: str, reason: str) -> Failure:
    """For what the gateway's commands do not do."""
    return Failure(f"{program}: error: {what} is not supported: {reason}")
