"""Values of options that ask for nodes, processors, memory and GPUs, as fields of slurmrestd's job description.

Invariant: that of ``gateway.slurm.values``.
"""

from __future__ import annotations

import re
from datetime import datetime

from gateway.slurm import units
from gateway.slurm.values import FATAL, BadValueError, Converter, Fields, guarded, megabytes, some, whole


def memory_per_gpu(value: str, _now: datetime) -> Fields:
    """Megabytes for each GPU."""
    return {"memory_per_tres": f"gres/gpu:{megabytes(value)}"}


def disk(value: str, _now: datetime) -> Fields:
    """Megabytes of temporary disk."""
    return {"temporary_disk_per_node": megabytes(value)}


def nodes(value: str, _now: datetime) -> Fields:
    """How many nodes, as slurmctld takes it."""
    try:
        return {"nodes": units.node_range(value).text}
    except units.NodeOrderError as error:
        fewest, most = error.args
        raise BadValueError(f"Maximum node count {most} is less than minimum node count {fewest}") from error
    except ValueError as error:
        raise BadValueError(f'"{value}" is not a valid node count') from error


def gres(value: str, _now: datetime) -> Fields:
    """Generic resources of each node."""
    if value == "none":
        return {"tres_per_node": value}
    items = [item.removeprefix("gres/") for item in value.split(",")]
    if any(not re.fullmatch(r"[^:=\s]+([:=][^:=\s]+){0,2}", item) for item in items):
        raise BadValueError("Invalid Trackable RESource (TRES) specification", FATAL)
    return {"tres_per_node": ",".join("gres/" + item for item in items)}


def gpus(field: str) -> Converter:
    """GPUs as a trackable resource: ``2``, ``a100:2``, ``a100:1,v100:2``."""

    def convert(value: str, _now: datetime) -> Fields:
        if any(not re.fullmatch(r"(gpu:)?([^:=\s]+[:=])?\d+", item) for item in value.split(",")):
            raise BadValueError("Invalid Trackable RESource (TRES) specification", FATAL)
        return {field: ",".join("gres/gpu:" + item.removeprefix("gpu:") for item in value.split(","))}

    return convert


def gpus_per_task(value: str, now: datetime) -> Fields:
    """GPUs of each task; each task sees only its own."""
    found = str(gpus("tres_per_task")(value, now)["tres_per_task"])
    per_task = re.sub(r":(\d+)(?=,|$)", r"=\1", found)
    return {"tres_per_task": per_task, "tres_bind": f"gres/gpu:per_task:{per_task.rpartition('=')[2]}"}


def gres_flags(value: str, _now: datetime) -> Fields:
    """Whether generic resources are bound to the cores near them."""
    flags = {"disable-binding": "GRES_BINDING_DISABLED", "enforce-binding": "GRES_BINDING_ENFORCED"}
    if value not in flags:
        raise BadValueError(f"Invalid --gres-flags specification: {value}")
    return {"flags": [flags[value]]}


def cpus_per_task(value: str, _now: datetime) -> Fields:
    """Processors for each task; sbatch 24.11 says it in both forms."""
    return {"cpus_per_task": whole(value), "tres_per_task": f"cpu={whole(value)}"}


def cpus_per_gpu(value: str, _now: datetime) -> Fields:
    """Processors for each GPU."""
    return {"cpus_per_tres": f"gres/gpu:{whole(value)}"}


def prefixed(field: str, prefix: str) -> Converter:
    """The value after a fixed prefix."""
    return lambda value, _now: {field: prefix + value}


def segment(value: str, _now: datetime) -> Fields:
    """Nodes of one block."""
    if not re.fullmatch(r"\d{1,5}", value, re.ASCII):
        raise BadValueError
    return {"segment_size": some(int(value))}


def distribution(value: str, _now: datetime) -> Fields:
    """How tasks are laid out over nodes, sockets and cores."""
    words = value.lower().split(",")
    if plane := re.fullmatch(r"plane=(\d+)", words[0], re.ASCII):
        return {"distribution": f"plane={int(plane[1])}", "distribution_plane_size": some(int(plane[1]))}
    if words[0] == "plane" or words[0].startswith("plane="):
        raise BadValueError("Invalid plane size or size not specified")
    levels = words[0].split(":") if words[0] not in {"pack", "nopack"} else []
    known = all(level in {"*", "block", "cyclic", "fcyclic", "arbitrary"} for level in levels)
    if len(levels) > 3 or not known or any(word not in {"pack", "nopack"} for word in words[1:]):  # noqa: PLR2004
        raise BadValueError
    return {"distribution": value.lower()}


def hint(value: str, _now: datetime) -> Fields:
    """Placement of tasks on cores; nodes belong to one job, so only ``nomultithread`` changes the request."""
    if value not in {"compute_bound", "memory_bound", "multithread", "nomultithread"}:
        raise BadValueError(f'unrecognized --hint argument "{value}", see --hint=help', FATAL)
    return {"threads_per_core": 1} if value == "nomultithread" else {}


def switches(value: str, _now: datetime) -> Fields:
    """``COUNT[@TIME]``: most switches, and how long to wait for that."""
    most, at, wait = value.partition("@")
    fields = {"required_switches": some(whole(most))}
    return {**fields, "wait_for_switch": guarded(units.minutes, wait) * 60} if at else fields
