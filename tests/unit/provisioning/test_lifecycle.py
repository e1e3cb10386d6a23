"""The table of a node's states: nothing that may cost money is forgotten, and nothing is stuck."""

from __future__ import annotations

import pytest

from gateway.provisioning.lifecycle import BEFORE_JOIN, DEADLINE_S, MOVES, USABLE, NodeState, may_move

WITHOUT_MACHINE = {NodeState.OFF, NodeState.INTENT}
ENDING = {NodeState.TERMINATING, NodeState.STUCK_TERMINATING}


def reachable(start: NodeState) -> set[NodeState]:
    """Every state that a node in ``start`` can come to."""
    reached, border = set(), set(MOVES[start])
    while border:
        reached |= border
        border = set().union(*(MOVES[one] for one in border)) - reached
    return reached


def test_every_state_has_a_row():
    """No state is forgotten in the table."""
    assert set(MOVES) == set(NodeState)


@pytest.mark.parametrize("state", list(NodeState))
def test_no_state_is_a_dead_end(state):
    """From every state a node gets back to OFF, and from OFF to use."""
    assert NodeState.OFF in reachable(state)
    assert reachable(state) >= USABLE


@pytest.mark.parametrize("state", sorted(set(NodeState) - WITHOUT_MACHINE - ENDING))
def test_what_may_have_a_machine_is_off_only_after_terminating(state):
    """Once a create call may have been made, OFF lies behind TERMINATING, which can be entered at any time."""
    assert not may_move(state, NodeState.OFF)
    assert may_move(state, NodeState.TERMINATING)


def test_only_a_node_that_is_ending_or_never_began_goes_off():
    """The sources of OFF are these and no others."""
    assert {state for state in NodeState if may_move(state, NodeState.OFF)} == {NodeState.INTENT, *ENDING}


@pytest.mark.parametrize("state", sorted(ENDING))
def test_what_is_ending_never_comes_back(state):
    """A machine whose end was asked for is not given to a job again."""
    assert MOVES[state] <= ENDING | {NodeState.OFF}


@pytest.mark.parametrize("state", sorted(BEFORE_JOIN))
def test_a_node_may_join_wherever_its_token_is_good(state):
    """The states in which the one-time token is taken lead to BOOTSTRAPPED; no others do."""
    assert may_move(state, NodeState.BOOTSTRAPPED)
    assert {one for one in NodeState if may_move(one, NodeState.BOOTSTRAPPED)} == BEFORE_JOIN


def test_deadlines_are_for_states_that_wait_for_a_machine():
    """A node is never given up while Slurm uses it."""
    assert not set(DEADLINE_S) & (USABLE | WITHOUT_MACHINE)
    assert all(seconds > 0 for seconds in DEADLINE_S.values())
