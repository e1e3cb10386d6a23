"""The stages of a job and the only table of legal moves between them.

Invariant: every move goes forward. After the money is held, failure and cancel take the same road as success.
"""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Where a job is on its route; the name says what is already done."""

    SUBMITTED = "submitted"
    """The script was read."""
    AUTHORISED = "authorised"
    """Its owner may run it."""
    QUOTED = "quoted"
    """An offer was chosen and priced."""
    FUNDED = "funded"
    """The most that it can cost is held; from here on everything settles."""
    STAGED_IN = "staged-in"
    """Every input is in the store, size and digest known."""
    QUEUED = "queued"
    """Slurm has it."""
    RAN = "ran"
    """Slurm is done with it, however it ended."""
    STAGED_OUT = "staged-out"
    """Its manifests are complete."""
    SETTLED = "settled"
    """Its hold became a receipt and a refund."""
    REFUSED = "refused"
    """Refused before anything was held."""


ROUTE_ORDER = (
    Stage.SUBMITTED,
    Stage.AUTHORISED,
    Stage.QUOTED,
    Stage.FUNDED,
    Stage.STAGED_IN,
    Stage.QUEUED,
    Stage.RAN,
    Stage.STAGED_OUT,
    Stage.SETTLED,
)

FINAL = frozenset({Stage.SETTLED, Stage.REFUSED})

OVER = FINAL | set(ROUTE_ORDER[ROUTE_ORDER.index(Stage.RAN) :])
"""Slurm is to run nothing of such a job any more."""

MOVES: dict[Stage, frozenset[Stage]] = {
    Stage.SUBMITTED: frozenset({Stage.AUTHORISED, Stage.REFUSED}),
    Stage.AUTHORISED: frozenset({Stage.QUOTED, Stage.REFUSED}),
    Stage.QUOTED: frozenset({Stage.FUNDED, Stage.REFUSED}),
    # A job that never reached Slurm has run nothing: it goes straight to RAN and settles at zero.
    Stage.FUNDED: frozenset({Stage.STAGED_IN, Stage.RAN}),
    Stage.STAGED_IN: frozenset({Stage.QUEUED, Stage.RAN}),
    Stage.QUEUED: frozenset({Stage.RAN}),
    Stage.RAN: frozenset({Stage.STAGED_OUT}),
    Stage.STAGED_OUT: frozenset({Stage.SETTLED}),
    Stage.SETTLED: frozenset(),
    Stage.REFUSED: frozenset(),
}


def may_move(old: Stage, new: Stage) -> bool:
    """Whether a job may go from ``old`` to ``new``."""
    return new in MOVES[old]
