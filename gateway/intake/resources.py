"""What options ask for in numbers: nodes, processors, memory, GPUs, time and array tasks.

Invariant: the numbers are those that slurmctld would come to, so that what is priced is what runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.errors import OptionError
from gateway.jobs.job import Resources
from gateway.slurm import units


def resources_of(options: Mapping[str, str]) -> Resources:
    """The resources of options that were parsed (their values are in form) and have a ``time``.

    Raises ``OptionError`` for what slurmctld would refuse: an array specification, zero nodes, GPUs for no task.
    """
    nodes = _nodes(options)
    tasks, cpus = _number(options, "ntasks"), max(1, _number(options, "cpus-per-task"))
    per_node = _number(options, "ntasks-per-node")
    if per_node and not tasks:
        # As sbatch(1) has it, --ntasks-per-node with --nodes alone says how many tasks there are.
        tasks = per_node * nodes.fewest
    gpus_per_node, gpus = _gpus(options, tasks, nodes.fewest)
    fewest = min(nodes.fewest, tasks) if tasks and "ntasks" in options else nodes.fewest
    if gpus and gpus_per_node and "nodes" not in options:
        fewest = max(fewest, -(-gpus // gpus_per_node))
    most = _most(nodes, options)
    cpus_per_node = max(
        cpus * max(1, per_node, -(-tasks // most) if most else 0),
        _number(options, "mincpus"),
        _number(options, "cpus-per-gpu") * gpus_per_node,
    )
    return Resources(
        nodes=fewest,
        max_nodes=most,
        cpus_per_node=cpus_per_node,
        memory_mb_per_node=max(
            _memory(options, "mem"),
            _memory(options, "mem-per-cpu") * cpus_per_node,
            _memory(options, "mem-per-gpu") * gpus_per_node,
        ),
        memory_mb_per_cpu=_memory(options, "mem-per-cpu"),
        gpus_per_node=gpus_per_node or min(gpus, 1),
        gpus=gpus,
        tasks=tasks,
        cpus_per_task=cpus,
        tasks_per_node=per_node,
        time_limit_s=units.minutes(options["time"]) * 60,
        array_tasks=_array_tasks(options),
        gpu_types=_gpu_types(options),
    )


def _nodes(options: Mapping[str, str]) -> units.NodeRange:
    nodes = units.node_range(options.get("nodes", "1"))
    if nodes.fewest < 1:
        message = "Node count specification invalid"
        raise OptionError(message, option="--nodes", exit_code=1, hint="ask for at least one node")
    return nodes


def _most(nodes: units.NodeRange, options: Mapping[str, str]) -> int:
    """Upper end of --nodes; Slurm gives no more nodes than there are tasks."""
    if "nodes" not in options:
        return 0
    return min(nodes.most, _number(options, "ntasks")) if "ntasks" in options else nodes.most


def _number(options: Mapping[str, str], name: str) -> int:
    return int(options[name]) if name in options else 0


def _memory(options: Mapping[str, str], name: str) -> int:
    return units.megabytes(options[name]) if name in options else 0


def _array_tasks(options: Mapping[str, str]) -> int:
    if "array" not in options:
        return 1
    try:
        return units.array_spec(options["array"]).tasks
    except ValueError as error:
        raise OptionError(
            "Invalid job array specification",
            option="--array",
            exit_code=1,
            hint=f"write for example --array=0-9%4; indices are below {units.MAX_ARRAY_SIZE}",
        ) from error


def _gpus(options: Mapping[str, str], tasks: int, nodes: int) -> tuple[int, int]:
    """GPUs of each node (0: only a total was asked), and of the whole job (0: only a number a node)."""
    sockets = max(1, _number(options, "sockets-per-node"))
    per_node = max(
        _gpu_count(options.get("gpus-per-node", "0")),
        _gres_gpus(options.get("gres", "")),
        _gpu_count(options.get("gpus-per-socket", "0")) * sockets,
    )
    total = _gpu_count(options.get("gpus", "0"))
    per_task = _gpu_count(options.get("gpus-per-task", "0"))
    if per_task and not (tasks or total):
        message = "--gpus-per-task used without either --gpus or -n/--ntasks is not allowed."
        raise OptionError(message, option="--gpus-per-task", exit_code=1, hint="add --ntasks")
    total = max(total, per_task * tasks)
    if total and not per_node and "nodes" in options:
        # Spread evenly, each node has at least this many.
        per_node = -(-total // nodes)
    return per_node, total


def _gpu_types(options: Mapping[str, str]) -> tuple[str, ...]:
    """The kinds that are named, as in ``--gpus=a100:2`` or ``--gres=gpu:a100``, each once."""
    wanted = [options.get(name, "") for name in ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket")]
    items = [item.removeprefix("gpu:") for value in wanted for item in value.split(",")]
    gres = (item.removeprefix("gres/") for item in options.get("gres", "").split(","))
    items += [item.removeprefix("gpu:") for item in gres if item.startswith("gpu:")]
    kinds = (re.split("[:=]", item)[0] for item in items)
    return tuple(dict.fromkeys(kind.lower() for kind in kinds if kind and not kind[0].isdigit()))


def _gpu_count(value: str) -> int:
    """GPUs of ``2``, ``a100:2`` or ``a100:1,v100:2``."""
    return sum(int(re.split("[:=]", item)[-1]) for item in value.split(","))


def _gres_gpus(value: str) -> int:
    """GPUs of ``[gres/]gpu[:type][:count]`` items."""
    count = 0
    for item in value.split(",") if value else ():
        name, *rest = re.split("[:=]", item.removeprefix("gres/"))
        if name == "gpu":
            number = re.fullmatch(r"(\d+)(k?)", rest[-1], re.ASCII | re.IGNORECASE) if rest else None
            count += int(number[1]) * (1024 if number[2] else 1) if number else 1
    return count
