"""What slurmctld's record of a site's job asks for; v0.0.42's shapes as a real 24.11.5 gave them."""

from __future__ import annotations

import pytest

from gateway.engines.site_jobs import ENDLESS_S, resources_of
from gateway.errors import SchedulerRefused


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
