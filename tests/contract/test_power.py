"""What becomes of a node in Slurm when its machine failed, and of a job that was on it; on a real slurmctld."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from submitter import Submitter, eventually, ran

from gateway.engines.engine import SchedulerNode
from gateway.engines.power import Power

NAME = "small-4"


@pytest.fixture
def jobs(engine, cluster) -> Submitter:
    return Submitter(engine, cluster)


@pytest.fixture
def power(engine) -> Iterator[Power]:
    """Leaves the node as it was."""
    yield Power(engine)
    if {"DOWN", "DRAIN"} & look(engine).states:
        engine.update_nodes([NAME], "RESUME")


def look(engine) -> SchedulerNode:
    return next(node for node in engine.nodes() if node.name == NAME)


@pytest.mark.parametrize("reason", ["ResumeTimeout reached", "Not responding"])
def test_a_node_that_slurm_gave_up_is_usable_again(engine, power, reason):
    """Once its machine is gone, what Slurm held against that machine is forgotten."""
    engine.update_nodes([NAME], "DOWN", reason)
    power.gone(NAME)
    assert not look(engine).states & {"DOWN", "DRAIN"}


def test_a_node_that_failed_is_down_until_its_machine_is_gone(engine, power):
    """Down with our reason as long as there may be a machine, then usable again."""
    power.failed(NAME, "its machine is stopped\nand more that nobody wants to read")
    assert "DOWN" in look(engine).states
    assert look(engine).reason == "gateway: its machine is stopped"
    power.gone(NAME)
    assert not look(engine).states & {"DOWN", "DRAIN"}


def test_a_node_that_an_operator_set_down_stays_down(engine, power):
    """Somebody wants it so."""
    engine.update_nodes([NAME], "DOWN", "broken fan")
    power.gone(NAME)
    assert "DOWN" in look(engine).states


def test_i23_what_an_operator_said_of_a_node_survives_the_end_of_its_machine(engine, power):
    """Its machine is lost: Slurm knows, and the operator's drain is there for the next one."""
    engine.update_nodes([NAME], "DRAIN", "broken fan")
    power.failed(NAME, "its machine is gone")
    assert {"DOWN", "DRAIN"} <= look(engine).states
    power.gone(NAME)
    assert look(engine).reason == "broken fan"
    assert "DRAIN" in look(engine).states


def test_i14_a_preempted_node_takes_no_job_and_its_own_runs_again(jobs, engine):
    """Drained as ours; the job that runs there is requeued, one that has ended there is not."""
    node, power = "small-5", Power(engine)
    over = jobs.submit("true", nodelist=node)
    jobs.ended(over)
    runs = jobs.submit("sleep 60", nodelist=node)
    jobs.until(runs, ran)
    for job in (over, runs):
        power.requeue(node, job, "preempted: in two minutes")
    known = next(one for one in engine.nodes() if one.name == node)
    assert "DRAIN" in known.states
    assert known.reason == "gateway: preempted: in two minutes"
    jobs.until(runs, lambda task: task.restarts == 1 and task.state == "PENDING")
    engine.cancel(runs)
    engine.update_nodes([node], "RESUME")

    assert [(task.state, task.restarts) for task in engine.job(over)] == [("COMPLETED", 0)]


def test_a_node_at_rest_is_left_alone(engine, power):
    """Powered down and up to nothing, it stays so."""
    states = eventually(lambda: states if "POWERED_DOWN" in (states := look(engine).states) else None)
    power.gone(NAME)
    assert look(engine).states == states


def test_a_requeued_job_need_not_wait(jobs, engine):
    """Slurm holds it back for two minutes; told that it may begin, it runs again at once."""
    job = jobs.submit("test $SLURM_RESTART_COUNT || sleep 60")
    jobs.until(job, ran)
    engine.requeue(job)
    jobs.until(job, lambda task: task.reason == "BeginTime")
    engine.begin_now(job)
    (task,) = jobs.ended(job)
    assert (task.state, task.restarts) == ("COMPLETED", 1)
