"""The process that holds pyslurm: requests as JSON lines on stdin, answers on stdout.

A process of its own, because importing pyslurm without a configuration ends the interpreter, because libslurm writes
to stderr and blocks for seconds when the controller is away, and because pyslurm is GPL and the gateway is not.

Source: pyslurm 24.11 to 25.11 (reference of pyslurm.Job, JobSubmitDescription, Node). It must have been built for the
libslurm of this machine, whose release may be up to three older than the controller's, never newer.

Invariant: run with nothing of the gateway imported; each line in is answered by one line out, in order.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
import tempfile
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

ATTRIBUTES = {
    "account": "account", "acctg-freq": "accounting_gather_frequency", "array": "array", "batch": "batch_constraints",
    "begin": "begin_time", "comment": "comment", "constraint": "constraints", "cpus-per-task": "cpus_per_task",
    "deadline": "deadline", "dependency": "dependencies", "error": "standard_error", "exclude": "excluded_nodes",
    "gpus": "gpus", "gpus-per-socket": "gpus_per_socket", "gpus-per-task": "gpus_per_task", "gres": "gres_per_node",
    "input": "standard_in", "job-name": "name", "licenses": "licenses", "mail-user": "mail_user",
    "mcs-label": "mcs_label", "mem": "memory_per_node", "mem-per-cpu": "memory_per_cpu", "network": "network",
    "nice": "nice", "nodelist": "required_nodes", "nodes": "nodes", "ntasks": "ntasks",
    "ntasks-per-core": "ntasks_per_core", "ntasks-per-node": "ntasks_per_node",
    "ntasks-per-socket": "ntasks_per_socket", "output": "standard_output", "partition": "partitions", "qos": "qos",
    "reservation": "reservations", "signal": "signal", "switches": "switches", "threads-per-core": "threads_per_core",
    "time": "time_limit", "time-min": "time_limit_min", "tmp": "temporary_disk_per_node", "wckey": "wckey",
}  # fmt: skip
"""sbatch's option → attribute of JobSubmitDescription, whose values have sbatch's form."""
FLAGS: dict[str, Json] = {
    "hold": {"priority": 0}, "requeue": {"is_requeueable": True}, "no-requeue": {"is_requeueable": False},
    "overcommit": {"overcommit": True}, "contiguous": {"requires_contiguous_nodes": True},
    "spread-job": {"spreads_over_nodes": True}, "use-min-nodes": {"use_min_nodes": True},
    "exclusive": {"resource_sharing": "no"},
}  # fmt: skip
"""sbatch's options without a value → attributes."""
_NUMBERS = frozenset(
    {"cpus_per_task", "nice", "threads_per_core"} | {name for name in ATTRIBUTES.values() if "ntasks" in name}
)

_TIMES = ("submit_time", "start_time", "end_time")


def main() -> int:
    """Serve until stdin ends. Exit code 3: pyslurm cannot be had here; the line on stdout says why."""
    if not os.path.isfile(os.environ.get("SLURM_CONF", "/etc/slurm/slurm.conf")):  # noqa: PTH113
        return _unusable("there is no slurm.conf; set SLURM_CONF")
    try:
        import pyslurm  # noqa: PLC0415 - only here, after the check
    except ImportError as error:
        return _unusable(f"pyslurm cannot be loaded: {error}")
    _say({"ready": pyslurm.__version__})
    for line in sys.stdin:
        _say(_answer(pyslurm, json.loads(line)))
    return 0


def description(options: dict[str, str]) -> Json:
    """Attributes of JobSubmitDescription. Raises ValueError naming an option that pyslurm has no attribute for."""
    found: Json = {}
    for name, value in options.items():
        if name in FLAGS:
            found |= FLAGS[name]
        elif name in ATTRIBUTES:
            found[ATTRIBUTES[name]] = int(value) if ATTRIBUTES[name] in _NUMBERS else value
        elif name == "gpus-per-node":
            found["gres_per_node"] = f"gpu:{value}"
        else:
            raise ValueError(f"pyslurm has no way to pass --{name}; use the slurmrestd or the commands adapter")
    return found | _tasks(options)


def _tasks(options: dict[str, str]) -> Json:
    """pyslurm asks for one task where sbatch leaves it open, and srun would then use one node of several."""
    fewest = options.get("nodes", "").partition("-")[0]
    if "ntasks" in options or not fewest.isdecimal():
        return {}
    return {"ntasks": int(fewest) * int(options.get("ntasks-per-node", "1"))}


def _unusable(why: str) -> int:
    _say({"unusable": why})
    return 3


def _say(document: Json) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _answer(pyslurm: Any, request: Json) -> Json:
    try:
        return {"answer": _CALLS[request["call"]](pyslurm, **request["with"])}
    except pyslurm.RPCError as error:
        # errno is set to -1 by a text of pyslurm's own.
        return {"error": str(error), "errno": getattr(error, "errno", None)}
    except (ValueError, KeyError, TypeError) as error:
        return {"error": str(error), "errno": None}


def _submit(pyslurm: Any, submission: Json) -> int:
    """pyslurm takes arguments only of a script that is a file; it reads the file at once."""
    who = _identity(submission["user"]) if submission["user"] else {}
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(submission["script"])
        script.flush()
        job = pyslurm.JobSubmitDescription(
            script=script.name,
            script_args=submission["arguments"] or None,
            environment=submission["environment"],
            admin_comment=submission["token"],
            working_directory=submission["working_directory"],
            **description(submission["options"]),
            **who,
        )
        return int(job.submit())


def _identity(user: str) -> Json:
    known = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    return {"user_id": known.pw_uid, "group_id": known.pw_gid}


def _states(pyslurm: Any) -> Json:
    return {str(job.id): job.state for job in pyslurm.Jobs.load().values()}


def _find(pyslurm: Any, token: str) -> int | None:
    found = (job for job in pyslurm.Jobs.load().values() if job.admin_comment == token)
    return next((int(job.array_id or job.id) for job in found), None)


def _job(pyslurm: Any, job: int) -> list[Json]:
    return [_job_record(one) for one in pyslurm.Jobs.load().values() if job in {one.id, one.array_id}]


def _job_record(job: Any) -> Json:
    names = (
        "id", "array_id", "array_task_id", "admin_comment", "state", "state_reason", "allocated_nodes", "batch_host",
        "exit_code", "exit_code_signal", "requeue_count", "partition", "name", "user_name", "standard_output",
        "standard_error",
    )  # fmt: skip
    return {name: getattr(job, name) for name in (*names, *_TIMES)}


def _signal(pyslurm: Any, job: int, number: int) -> None:
    pyslurm.Job(job).send_signal(number)


def _cancel(pyslurm: Any, job: int) -> None:
    pyslurm.Job(job).cancel()


def _requeue(pyslurm: Any, job: int) -> None:
    pyslurm.Job(job).requeue()


def _begin_now(pyslurm: Any, job: int) -> None:
    pyslurm.Job(job).modify(pyslurm.JobSubmitDescription(begin_time="now"))


def _nodes(pyslurm: Any) -> list[Json]:
    names = ("name", "state", "reason", "address", "total_cpus", "real_memory", "boot_time")
    return [{name: getattr(node, name) for name in names} for node in pyslurm.Nodes.load().values()]


def _update_node(pyslurm: Any, node: str, state: str, reason: str) -> None:
    changes = {"state": state, **({"reason": reason} if reason else {})}
    pyslurm.Node.load(node).modify(pyslurm.Node(**changes))


def _version(pyslurm: Any) -> str:
    return str(pyslurm.slurmctld.Config.load().version)


_CALLS: dict[str, Callable[..., Any]] = {
    "version": _version, "submit": _submit, "states": _states, "find": _find, "job": _job, "signal": _signal,
    "cancel": _cancel, "requeue": _requeue, "begin_now": _begin_now, "nodes": _nodes, "update_node": _update_node,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
