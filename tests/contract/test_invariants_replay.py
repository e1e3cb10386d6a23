"""Slurm's calls made again, late and in another order: what comes of them is what comes of them once."""

from __future__ import annotations

import logging

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.testing.convergence import at_rest, converge
from gateway.testing.invariants import checkers
from gateway.testing.world import Shape, World

NAMES = ("small-1", "small-2", "small-3")
JOBS = st.lists(st.tuples(st.integers(1, 3), st.integers(20, 200)), min_size=1, max_size=4)
REPLAYS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=8)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """The production code's log is of no interest here."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def world_of(jobs):
    world = World(Shape(), checkers())
    for nodes, runs_s in jobs:
        world.slurm.take(nodes, runs_s)
    return world


def outcome(world):
    """Whether all is at rest, how the jobs ended, and what Slurm and the records say of each node."""
    ended = [job.state for job in world.slurm.jobs.values()]
    slurm = {name: node.states for name, node in world.slurm.known.items()}
    return at_rest(world), ended, slurm, world.states, len(world.machines)


@settings(max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(JOBS, st.integers(2, 5))
def test_i10_a_call_that_is_made_many_times_is_made_once(jobs, times):
    """At once and in the same order: at every moment the nodes, machines and jobs are those of one call."""
    once, often = world_of(jobs), world_of(jobs)
    hand_in = often.hand_in
    often.hand_in = lambda *call: [hand_in(*call) for _ in range(times)]
    for _ in range(30):
        once.passes(20)
        often.passes(20)
        assert outcome(often) == outcome(once)
        assert [each.node for each in often.machines] == [each.node for each in once.machines]


@settings(max_examples=50, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(JOBS, REPLAYS)
def test_i10_calls_replayed_late_and_in_any_order_end_in_the_same_state(jobs, replays):
    """Whenever an old call comes again, in the end it is as if it had not."""
    once, often = world_of(jobs), world_of(jobs)
    for number, loops in replays:
        often.passes(10.0 * loops)
        if past := often.spool.past:
            often.replay(*past[number % len(past)])
    converge(once)
    converge(often)
    assert outcome(often) == outcome(once)
