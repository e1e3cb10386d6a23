"""JobFields: what squeue can print of a job, from slurmrestd's record of it.

Invariant: the letters, headers and values of squeue 24.11; a letter for what slurmrestd does not tell is not here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.cli.slurm_commands.table_format import Column, Record
from gateway.cli.slurm_commands.values import INFINITE, flags, megabytes, minutes, moment, number, or_null, seconds
from gateway.slurm.states import JOB_STATES, compact, shown

_TELLS_WHY = frozenset({"PENDING", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE", "FAILED"})
_NO_TASK = 4294967294
_FILES = ("standard_error", "standard_input", "standard_output")
_PRIORITY_UNIT = 2**32


def states(job: Record) -> frozenset[str]:
    """Base state and flags."""
    return flags(job, "job_state")


def base_state(job: Record) -> str:
    """Without flags."""
    return next((state for state in JOB_STATES if state in states(job)), "PENDING")


def is_active(job: Record) -> bool:
    """Whether squeue shows it unasked."""
    return base_state(job) in {"PENDING", "RUNNING", "SUSPENDED"} or "COMPLETING" in states(job)


def job_name(job: Record) -> str:
    """12, 12_3, or 12_[4-9%2] for the tasks that wait together."""
    array = number(job.get("array_job_id"))
    if job.get("array_task_string"):
        return f"{array}_[{job['array_task_string']}]"
    task = number(job.get("array_task_id"))
    return str(job["job_id"]) if task is None or not array else f"{array}_{task}"


def array_job(job: Record) -> int:
    """The id of the whole array, or its own."""
    return number(job.get("array_job_id")) or int(job["job_id"])


def task_of(job: Record, index: int) -> Record:
    """One of the tasks that wait together, as a job of its own."""
    own = {"set": True, "infinite": False, "number": index}
    files = {name: str(job[name]).replace(f"_{_NO_TASK}", f"_{index}") for name in _FILES if job.get(name)}
    return {**job, **files, "array_task_string": "", "array_task_id": own}


def waiting(job: Record) -> list[int]:
    """The indices of the tasks that wait together."""
    found: list[int] = []
    for part in str(job.get("array_task_string") or "").partition("%")[0].split(","):
        ends, _, step = part.partition(":")
        low, dash, high = ends.partition("-")
        found += range(int(low), int(high if dash else low) + 1, int(step or 1)) if low else ()
    return found


def time_used(job: Record) -> int:
    """Seconds that it has run."""
    started, ended = number(job.get("start_time")) or 0, number(job.get("end_time")) or 0
    state = base_state(job)
    if not started or state == "PENDING":
        return 0
    before = number(job.get("pre_sus_time")) or 0
    if state == "SUSPENDED":
        return before
    until = int(time.time()) if state == "RUNNING" or not ended else ended
    resumed = number(job.get("suspend_time")) or 0
    return until - resumed + before if resumed else until - started


def reason(job: Record) -> str:
    """Why it waits, in Slurm's word, or in the sentence that Slurm adds to some."""
    description = str(job.get("state_description") or "").replace(" ", "_")
    return description or str(job.get("state_reason") or "None")


def nodes_or_reason(job: Record) -> str:
    """Where it runs, or why it does not."""
    return f"({reason(job)})" if _is_reason(job) else str(job.get("nodes") or "")


def memory(job: Record) -> str:
    """What it asked for, per node or per processor."""
    return megabytes(number(job.get("memory_per_node")) or number(job.get("memory_per_cpu")) or 0)


def _is_reason(job: Record) -> bool:
    return "COMPLETING" not in states(job) and base_state(job) in _TELLS_WHY


def _time_left(job: Record) -> str:
    limit = number(job.get("time_limit"))
    if limit is None or limit == INFINITE:
        return minutes(limit)
    return seconds(limit * 60 - time_used(job))


def _end(job: Record) -> str:
    if number(job.get("time_limit")) == INFINITE and (number(job.get("end_time")) or 0) > time.time():
        return "NONE"
    return moment(job.get("end_time"))


def _array_task(job: Record) -> str:
    task = number(job.get("array_task_id"))
    return str(job.get("array_task_string") or ("N/A" if task is None else task))


def _text(name: str) -> Callable[[Record], str]:
    return lambda job: str(job.get(name) or "")


def _nullable(name: str) -> Callable[[Record], str]:
    return lambda job: or_null(job.get(name))


def _count(name: str) -> Callable[[Record], str]:
    return lambda job: str(number(job.get(name)) or 0)


def _any(name: str) -> Callable[[Record], str]:
    return lambda job: str(number(job.get(name)) or "*")


def _sockets(job: Record) -> str:
    return ":".join(_any(name)(job) for name in ("sockets_per_node", "cores_per_socket", "threads_per_core"))


COLUMNS = {
    "a": Column("ACCOUNT", _nullable("account")),
    "A": Column("JOBID", lambda job: str(job["job_id"])),
    "b": Column("TRES_PER_NODE", lambda job: str(job.get("tres_per_node") or "N/A")),
    "B": Column("EXEC_HOST", lambda job: str(job.get("batch_host") or "n/a")),
    "c": Column("MIN_CPUS", _count("minimum_cpus_per_node")),
    "C": Column("CPUS", _count("cpus")),
    "d": Column("MIN_TMP_DISK", lambda job: megabytes(number(job.get("minimum_tmp_disk_per_node")) or 0)),
    "D": Column("NODES", _count("node_count")),
    "e": Column("END_TIME", _end),
    "E": Column("DEPENDENCY", _nullable("dependency")),
    "f": Column("FEATURES", _nullable("features")),
    "F": Column("ARRAY_JOB_ID", lambda job: str(array_job(job))),
    "g": Column("GROUP", _text("group_name")),
    "G": Column("GROUP", lambda job: str(job.get("group_id", 0))),
    "H": Column("SOCKETS_PER_NODE", _any("sockets_per_node")),
    "i": Column("JOBID", job_name),
    "I": Column("CORES_PER_SOCKET", _any("cores_per_socket")),
    "j": Column("NAME", _text("name")),
    "J": Column("THREADS_PER_CORE", _any("threads_per_core")),
    "k": Column("COMMENT", _nullable("comment")),
    "K": Column("ARRAY_TASK_ID", _array_task),
    "l": Column("TIME_LIMIT", lambda job: minutes(number(job.get("time_limit"))), cut=False),
    "L": Column("TIME_LEFT", _time_left, cut=False),
    "m": Column("MIN_MEMORY", memory),
    "M": Column("TIME", lambda job: seconds(time_used(job)), cut=False),
    "n": Column("REQ_NODES", _text("required_nodes"), cut=False),
    "N": Column("NODELIST", _text("nodes"), cut=False),
    "o": Column("COMMAND", _nullable("command")),
    "O": Column("CONTIGUOUS", lambda job: str(int(bool(job.get("contiguous"))))),
    "p": Column("PRIORITY", lambda job: f"{(number(job.get('priority')) or 0) / _PRIORITY_UNIT:16.14f}"),
    "P": Column("PARTITION", _text("partition")),
    "q": Column("QOS", _nullable("qos")),
    "Q": Column("PRIORITY", _count("priority")),
    "r": Column("REASON", reason),
    "R": Column("NODELIST(REASON)", nodes_or_reason, cut=_is_reason),
    "S": Column("START_TIME", lambda job: moment(job.get("start_time"))),
    "t": Column("ST", lambda job: compact(shown(states(job)))),
    "T": Column("STATE", lambda job: shown(states(job))),
    "u": Column("USER", _text("user_name")),
    "U": Column("UID", lambda job: str(job.get("user_id", 0))),
    "v": Column("RESERVATION", _nullable("resv_name")),
    "V": Column("SUBMIT_TIME", lambda job: moment(job.get("submit_time"))),
    "w": Column("WCKEY", _nullable("wckey")),
    "W": Column("LICENSES", _nullable("licenses")),
    "x": Column("EXC_NODES", _text("excluded_nodes"), cut=False),
    "y": Column("NICE", lambda job: str(number(job.get("nice")) or 0)),
    "Y": Column("SCHEDNODES", _nullable("scheduled_nodes"), cut=False),
    "z": Column("S:C:T", _sockets),
    "Z": Column("WORK_DIR", _text("current_working_directory")),
}
"""Letter of ``-o`` → column."""
