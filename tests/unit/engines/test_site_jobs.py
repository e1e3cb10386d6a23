"""What slurmctld's record of a site's job asks for; v0.0.42's shapes as a real 24.11.5 gave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engines.site_jobs import ENDLESS_S, SiteJobs, Waiting, resources_of
from gateway.errors import NotFound, SchedulerRefused, SchedulerUnavailable


def figure(number: int, *, infinite: bool = False, is_set: bool = True) -> dict[str, object]:
    return {"set": is_set, "infinite": infinite, "number": number}


RECORD = {
    "node_count": figure(3),
    "max_nodes": figure(0),
    "tasks": figure(3),
    "cpus_per_task": figure(2),
    "tasks_per_node": figure(0),
    "minimum_cpus_per_node": figure(2),
    "memory_per_node": figure(300),
    "memory_per_cpu": figure(0, is_set=False),
    "time_limit": figure(60),
    "array_task_string": "1-6%3",
}


def test_an_array_of_parallel_tasks_is_read_whole():
    """sbatch --array=1-6%3 -n3 -c2 --mem=300 --time=60."""
    asked = resources_of(RECORD, 7)

    assert (asked.nodes, asked.tasks, asked.cpus_per_task, asked.cpus_per_node) == (3, 3, 2, 2)
    assert (asked.memory_mb_per_node, asked.memory_mb_per_cpu) == (300, 0)
    assert (asked.time_limit_s, asked.array_tasks) == (3600, 6)


def test_a_job_without_a_time_limit_gets_the_partition_s():
    """An endless one is longer than any gateway takes, so that it is refused and not priced at nothing."""
    assert resources_of({**RECORD, "time_limit": figure(0, is_set=False)}, 420).time_limit_s == 420
    assert resources_of({**RECORD, "time_limit": figure(0, infinite=True)}, 420).time_limit_s == ENDLESS_S


def test_an_empty_record_asks_for_one_of_each():
    """Nothing is ever less than one node with one processor."""
    asked = resources_of({}, 60)

    assert (asked.nodes, asked.cpus_per_node, asked.cpus_per_task, asked.array_tasks) == (1, 1, 1, 1)


def test_indices_that_cannot_be_counted_are_not_guessed():
    """Slurm shortens long lists with dots where it is let; a price needs all of them."""
    with pytest.raises(SchedulerRefused, match="1,3,5"):
        resources_of({**RECORD, "array_task_string": "1,3,5,..."}, 60)


TOKEN = "0123456789abcdef0123456789abcdef"
SMALL, LARGE = frozenset({"small-1", "small-2"}), frozenset({"large-1"})


class Rest:
    """slurmrestd with one job: what it is told is kept."""

    def __init__(self, **facts: object) -> None:
        self.record = {
            **RECORD, "job_id": 7, "user_id": 1000, "user_name": "ann", "job_state": ["PENDING"], "partition": "cloud",
            "admin_comment": "burst: waits for the gateway", "hold": True, **facts,
        }  # fmt: skip
        self.sent: list[dict[str, object]] = []
        self.killed: list[str] = []

    def get(self, path: str) -> dict[str, object]:
        return {"jobs": [self.record] if path == "/job/7" else []}

    def send(self, method: str, path: str, change: dict[str, object]) -> None:
        assert (method, path) == ("POST", "/job/7")
        self.sent.append(change)

    def kill(self, job: str) -> None:
        self.killed.append(job)


def jobs_of(rest: Rest, squeue: str = "squeue") -> SiteJobs:
    nodes = {"small": SMALL, "large": LARGE}
    return SiteJobs(rest, "cloud", ("scontrol",), {"PATH": "/usr/bin:/bin"}, 3600, (squeue,), nodes)


def test_a_job_of_the_cloud_is_released_to_its_offer():
    """Under the token, with what its owner asked for as well."""
    rest = Rest(features="fast")

    jobs_of(rest).release(7, TOKEN, "small")

    assert rest.sent == [
        {
            "admin_comment": TOKEN,
            "constraints": "(fast)&small",
            "priority": {"set": True, "infinite": True, "number": 0},
        }
    ]


def test_a_job_of_the_site_s_own_gets_the_cloud_beside_its_partition():
    """No constraint, which would hold at home as well: the nodes of other offers are excluded. It was never held."""
    rest = Rest(partition="main", admin_comment="", hold=False, excluded_nodes="n[1-2]")

    jobs_of(rest).release(7, TOKEN, "small")

    assert rest.sent == [{"admin_comment": TOKEN, "partition": "main,cloud", "excluded_nodes": ["large-1", "n1", "n2"]}]


def test_releasing_again_changes_nothing():
    """The reply was lost, or the gateway died after it."""
    rest = Rest(admin_comment=TOKEN)

    jobs_of(rest).release(7, TOKEN, "small")

    assert rest.sent == []


@pytest.mark.parametrize(("partition", "killed"), [("cloud", ["7"]), ("main", []), ("main,cloud", [])])
def test_a_job_that_can_run_at_home_is_never_ended(partition, killed):
    """Only one that nobody but us could have started is."""
    rest = Rest(partition=partition)

    jobs_of(rest).give_up(7)
    jobs_of(rest).give_up(8)

    assert rest.killed == killed


def test_a_job_at_home_is_told_and_not_held():
    """Once, and not again with the same words."""
    rest = Rest(partition="main", admin_comment="burst: may go to the cloud")

    jobs_of(rest).tell_at_home(7, "no money")
    rest.record["admin_comment"] = rest.sent[0]["admin_comment"]
    jobs_of(rest).tell_at_home(7, "no money")

    assert rest.sent == [{"admin_comment": "burst: may go to the cloud, but not yet: no money"}]
    assert jobs_of(rest).look(7).wishes
    with pytest.raises(NotFound):
        jobs_of(rest).tell_at_home(8, "no money")


def test_squeue_tells_who_waits_for_what(tmp_path: Path):
    """As a real 24.11.5 printed it: an array once, no estimate as N/A, no account as (null)."""
    squeue = tmp_path / "squeue"
    lines = "2|main|(null)|1795423217|1795419614|Resources|\n4|main,two|chem|N/A|1795419614|JobHeldUser|\n\n"
    squeue.write_text(f"#!/bin/sh\n[ $SLURM_TIME_FORMAT = %s ] && printf '{lines}' | tr '|' '\\037'\n")
    squeue.chmod(0o755)

    found = jobs_of(Rest(), str(squeue)).waiting()

    assert found == (
        Waiting(2, ("main",), "", 1795423217, 1795419614, "Resources"),
        Waiting(4, ("main", "two"), "chem", None, 1795419614, "JobHeldUser"),
    )
    assert [job.for_nodes for job in found] == [True, False]
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(SchedulerUnavailable, match="Unable to contact"):
        jobs_of(Rest(), str(squeue)).waiting()
