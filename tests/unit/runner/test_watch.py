"""Which jobs are worth a whole look: what changed, what the cheap call cannot tell, and everything now and then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.jobs.stages import Stage
from gateway.jobs.store import OpenJob
from gateway.runner import watch
from gateway.runner.watch import ARRAY_EVERY_S, EVERY_S, MANY, Watch

JOB = OpenJob("f" * 32, 12, Stage.QUEUED, datetime(2026, 1, 2, tzinfo=UTC), cancel_requested=False, array_tasks=1)
WAITS = {12: frozenset({"PENDING"})}


class Clock:
    """Monotonic time that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The watch's own clock."""
    one = Clock()
    monkeypatch.setattr(watch, "time", one)
    return one


def test_a_new_job_is_due_once(clock):
    """Then it is not, until something changes."""
    one = Watch()

    assert one.due([JOB], WAITS) == [JOB]
    assert one.due([JOB], WAITS) == []


@pytest.mark.parametrize("states", [{12: frozenset({"RUNNING"})}, {12: frozenset({"PENDING", "REQUEUED"})}, {}])
def test_a_change_is_due_at_once(clock, states):
    """Another state, another flag, or gone from Slurm's memory."""
    one = Watch()
    one.due([JOB], WAITS)

    assert one.due([JOB], states) == [JOB]
    assert one.due([JOB], states) == []


def test_what_the_cheap_call_cannot_tell_is_always_due(clock):
    """Nodes in the making, and a cancel that Slurm has yet to hear of."""
    one, configuring = Watch(), {12: frozenset({"RUNNING", "CONFIGURING"})}
    cancelled = replace(JOB, cancel_requested=True)

    assert [one.due([JOB], configuring) for _ in range(3)] == [[JOB]] * 3
    assert [one.due([cancelled], WAITS) for _ in range(3)] == [[cancelled]] * 3


@pytest.mark.parametrize(("tasks", "every_s"), [(1, EVERY_S), (5, ARRAY_EVERY_S)])
def test_every_job_is_due_now_and_then(clock, tasks, every_s):
    """A reason may change without a state; arrays have many states and show one."""
    one, job = Watch(), replace(JOB, array_tasks=tasks)
    one.due([job], WAITS)

    clock.now += every_s - 0.01
    assert one.due([job], WAITS) == []
    clock.now += 0.02
    assert one.due([job], WAITS) == [job]


def test_many_jobs_are_looked_at_less_often_each(clock):
    """Looking costs the same however long the queue is; a change is still due at once."""
    jobs = [replace(JOB, id=f"{number:032x}", scheduler_id=number) for number in range(10 * MANY)]
    one, states = Watch(), dict.fromkeys(range(10 * MANY), WAITS[12])
    one.due(jobs, states)

    clock.now += 5 * EVERY_S
    assert one.due(jobs, states | {7: frozenset({"RUNNING"})}) == [jobs[7]]
    clock.now += 5 * EVERY_S
    assert len(one.due(jobs, states)) >= len(jobs) - 1


def test_a_look_that_came_to_nothing_is_repeated(clock):
    """What failed is due again."""
    one = Watch()
    one.due([JOB], WAITS)

    one.forget(JOB.id)

    assert one.due([JOB], WAITS) == [JOB]


def test_what_is_gone_is_forgotten(clock):
    """Memory does not grow with the jobs of a year."""
    one = Watch()
    one.due([JOB], WAITS)
    one.due([], {})

    assert one.due([JOB], WAITS) == [JOB]
