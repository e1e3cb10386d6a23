"""The table of a job's stages: every road leads forward, and all of them end."""

from __future__ import annotations

import pytest

from gateway.jobs.stages import FINAL, MOVES, ROUTE_ORDER, Stage, may_move
from gateway.route import ROUTE


def test_every_stage_has_a_row():
    """No stage is forgotten in the table."""
    assert set(MOVES) == set(Stage)


@pytest.mark.parametrize("old", [stage for stage in Stage if stage not in FINAL])
def test_every_move_leads_forward(old):
    """A job that moved is nearer to its end; refusal is an end."""
    for new in MOVES[old] - {Stage.REFUSED}:
        assert ROUTE_ORDER.index(new) > ROUTE_ORDER.index(old)


@pytest.mark.parametrize("stage", list(Stage))
def test_there_are_no_dead_ends(stage):
    """From every stage some final stage is reached, and from a final one nothing is."""
    reached, border = set(), {stage}
    while border:
        reached |= border
        border = set().union(*(MOVES[one] for one in border)) - reached
    assert reached & FINAL
    assert (not MOVES[stage]) == (stage in FINAL)


@pytest.mark.parametrize("stage", ROUTE_ORDER[ROUTE_ORDER.index(Stage.FUNDED) :])
def test_once_money_is_held_a_job_settles(stage):
    """Nothing that was held can end as refused: failure and cancel take the same road as success."""
    assert not may_move(stage, Stage.REFUSED)


def test_the_route_performs_every_stage_that_holds_money():
    """Each stage from FUNDED on has a performer, and where it leads is a legal move."""
    held = set(ROUTE_ORDER[ROUTE_ORDER.index(Stage.FUNDED) :]) - FINAL

    assert set(ROUTE) == held
    assert all(may_move(stage, following) for stage, (_, _, following) in ROUTE.items())
