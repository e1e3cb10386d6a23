"""How many nodes of one size a job takes.

Invariant: never fewer than Slurm would give the job on whole nodes of that size, so that a hold always covers it.
"""

from __future__ import annotations

from gateway.jobs.job import Resources


def nodes_on(resources: Resources, cores: int, *, memory_mb: int = 0, gpus: int = 0) -> int:
    """Nodes of ``cores`` processors, ``memory_mb`` (0: not looked at) and ``gpus`` that one task of the job takes.

    0 when no number of such nodes can run it.

    >>> nodes_on(Resources(tasks=5, cpus_per_task=2), cores=4)
    3
    """
    if resources.cpus_per_node > cores or resources.gpus_per_node > gpus:
        return 0
    if memory_mb and resources.memory_mb_per_node > memory_mb:
        return 0
    each = _tasks_on_one(resources, cores, memory_mb)
    if each == 0 or (resources.gpus and not gpus):
        return 0
    for_tasks = -(-resources.tasks // each)
    for_gpus = -(-resources.gpus // gpus) if resources.gpus else 0
    needed = max(resources.nodes, for_tasks, for_gpus)
    if resources.max_nodes and needed > resources.max_nodes:
        return 0
    return max(needed, resources.max_nodes)


def _tasks_on_one(resources: Resources, cores: int, memory_mb: int) -> int:
    """Most tasks that one node takes."""
    usable = cores
    if memory_mb and resources.memory_mb_per_cpu:
        usable = min(cores, memory_mb // resources.memory_mb_per_cpu)
    each = usable // resources.cpus_per_task
    return min(each, resources.tasks_per_node) if resources.tasks_per_node else each
