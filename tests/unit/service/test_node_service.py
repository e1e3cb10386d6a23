"""What a node is told of a job that Slurm starts on it."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from gateway import wire
from gateway.errors import NotFound
from gateway.jobs.stages import OVER, Stage
from gateway.service.nodes import NodeService

NODE = SimpleNamespace(name="small-1", generation=1)
TOKEN = "a" * 32


class Slurm:
    """A slurmctld that runs job 9 on small-1, whatever became of it."""

    def __init__(self):
        self.cancelled = []

    def job(self, number):
        return (SimpleNamespace(id=number, token=TOKEN, nodes=("small-1",), array_job_id=None, array_task_id=None),)

    def cancel(self, number, task):
        self.cancelled.append((number, task))


def service(slurm, stage):
    jobs = SimpleNamespace(get=lambda _: SimpleNamespace(stage=stage))
    nothing = SimpleNamespace()
    return NodeService(
        lambda: nullcontext(SimpleNamespace(jobs=jobs)), slurm, nothing, nothing, nothing, print, print, print
    )


@pytest.mark.parametrize("stage", sorted(OVER))
def test_i22_a_job_that_ended_is_not_run_again(stage):
    """slurmctld died before it had saved the job's end and starts it once more: the node is told nothing of it, Slurm
    is told that it is over, and the job's record stays as it was settled."""
    slurm = Slurm()

    with pytest.raises(NotFound, match="has ended"):
        service(slurm, stage).prolog(NODE, wire.PrologRequest(scheduler_id=9, nonce="n" * 16))

    assert slurm.cancelled == [(9, None)]


def test_a_queued_job_is_not_taken_for_an_ended_one():
    """The same call for a job that Slurm has: it goes on to what a first run needs."""
    slurm = Slurm()

    with pytest.raises(AttributeError, match="attempts"):
        service(slurm, Stage.QUEUED).prolog(NODE, wire.PrologRequest(scheduler_id=9, nonce="n" * 16))

    assert slurm.cancelled == []
