"""squeue: the caller's jobs, as Slurm tells them now.

Invariant: one question to the gateway; an id that Slurm does not know is an error only when it is the only one.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gateway.cli.slurm_commands import door, job_fields, table_format
from gateway.cli.slurm_commands.failure import Failure
from gateway.cli.slurm_commands.hosts import expand
from gateway.cli.slurm_commands.table_format import Record
from gateway.cli.slurm_commands.values import number, today
from gateway.cli.slurm_commands.words import Line, Option, read
from gateway.slurm.states import JOB_FLAGS, JOB_STATES, compact, shown

_USAGE = """Usage: squeue [-A account] [-n name] [-o format] [--job jobid] [--only-job-state]
              [-p partitions] [--sort fields] [-t states] [-u user_name]
              [-w nodes] [--me] [--json] [-ahlrv]
"""
_ONE_CLUSTER = "the gateway is one cluster"
OPTIONS = {
    "account": Option("A", value=True),
    "all": Option("a"),
    "array": Option("r"),
    "array-unique": Option(),
    "clusters": Option("M", value=True, reason=_ONE_CLUSTER),
    "Format": Option("O", value=True, reason="use -o"),
    "format": Option("o", value=True),
    "help": Option(),
    "iterate": Option("i", value=True, reason="use watch(1)"),
    "jobs": Option("j", value=True),
    "json": Option(optional=True),
    "licenses": Option("L", value=True, reason="the gateway's Slurm has none"),
    "local": Option(),
    "long": Option("l"),
    "me": Option(),
    "name": Option("n", value=True),
    "nodelist": Option("w", value=True),
    "noheader": Option("h"),
    "only-job-state": Option(),
    "partition": Option("p", value=True),
    "qos": Option("q", value=True),
    "reservation": Option("R", value=True, reason="the gateway's Slurm has none"),
    "sort": Option("S", value=True),
    "start": Option(reason="nodes are made when they are wanted, so Slurm has no plan to tell"),
    "states": Option("t", value=True),
    "steps": Option("s", reason="slurmrestd v0.0.42 does not list steps"),
    "usage": Option(),
    "user": Option("u", value=True),
    "verbose": Option("v"),
    "version": Option("V"),
    "yaml": Option(optional=True, reason="use --json"),
}
_DEFAULT = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
_LONG = "%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R"
_STATES_ONLY = "%.18i %.2t"
_VARIABLES = {
    "SQUEUE_ACCOUNT": "account",
    "SQUEUE_FORMAT": "format",
    "SQUEUE_NAMES": "name",
    "SQUEUE_PARTITION": "partition",
    "SQUEUE_QOS": "qos",
    "SQUEUE_SORT": "sort",
    "SQUEUE_STATES": "states",
    "SQUEUE_USERS": "user",
}
_NO_SUCH_JOB = 2017
_VALID_STATES = (
    "pending,running,suspended,completed,cancelled,failed,timeout,node_fail,preempted,boot_fail,deadline,"
    "out_of_memory,completing,configuring,resizing,resv_del_hold,requeued,requeue_fed,requeue_hold,revoked,signaling,"
    "special_exit,stage_out,stopped"
)


def run(words: Sequence[str]) -> int:
    """Print the list. Raises Failure."""
    line = _line(words)
    if line.has("help") or line.has("usage"):
        sys.stdout.write(_USAGE)
        return 0
    if line.has("version"):
        sys.stdout.write(f"slurm-wlm {door.RELEASE}\n")
        return 0
    answer, jobs = _found(line)
    if line.has("json"):
        sys.stdout.write(json.dumps({**answer, "jobs": jobs}, indent=2) + "\n")
        return 0
    sys.stdout.write(listing(jobs, line))
    return 0


def wanted(words: Sequence[str]) -> list[Record]:
    """The jobs that a command line asks for. Raises Failure."""
    return _found(_line(words))[1]


def listing(jobs: Sequence[Record], line: Line) -> str:
    """The table."""
    pieces = table_format.read("squeue", "job", _format(line), job_fields.COLUMNS)
    lines = [] if line.has("noheader") else [table_format.line(pieces, None)]
    for job in _sorted(jobs, line):
        indices = job_fields.waiting(job) if line.has("array") else []
        tasks = [job_fields.task_of(job, index) for index in indices] or [job]
        lines += [table_format.line(pieces, task) for task in tasks]
    date = [f"{today()}\n"] if line.has("long") and not line.has("noheader") else []
    return "".join(date + lines)


def _found(line: Line) -> tuple[Mapping[str, Any], list[Record]]:
    states = _states(line)
    answer = _ask(line)
    jobs = [part for job in answer["jobs"] for part in _parts(job, line)]
    return answer, [job for job in jobs if _fits(job, line, states)]


def _line(words: Sequence[str]) -> Line:
    line = read("squeue", OPTIONS, words)
    if line.operands:
        raise Failure(f"squeue: error: Unrecognized option: {line.operands[0]}\n{_USAGE}".rstrip("\n"))
    for variable, name in _VARIABLES.items():
        if variable in os.environ:
            line.given.setdefault(name, [os.environ[variable]])
    if "SQUEUE_ARRAY" in os.environ:
        line.given.setdefault("array", [""])
    for job in line.listed("jobs"):
        if not job.replace("_", "", 1).isdecimal():
            raise Failure(f"squeue: error: Invalid job id: {job}")
    return line


def _format(line: Line) -> str:
    asked = line.last("format")
    if asked is not None:
        return asked
    if line.has("only-job-state"):
        return _STATES_ONLY
    return _LONG if line.has("long") else _DEFAULT


def _states(line: Line) -> frozenset[str] | None:
    """The states to show; None: those that are not over. Raises Failure."""
    words = line.listed("states")
    if not words:
        return None
    known = {**JOB_STATES, **JOB_FLAGS}
    if "all" in map(str.lower, words):
        return frozenset(known)
    names = {**{name: name for name in known}, **{code: name for name, code in known.items()}}
    for word in words:
        if word.upper() not in names:
            valid = f"squeue: error: Valid job states include: {_VALID_STATES}\n"
            raise Failure(f"squeue: error: Invalid job state specified: {word}\n{valid}")
    return frozenset(names[word.upper()] for word in words)


def _ask(line: Line) -> Mapping[str, Any]:
    ids = line.listed("jobs")
    owners = _owners(line)
    if len(ids) == 1 and not owners:
        answer = door.get(f"{door.SLURM}/job/{ids[0].partition('_')[0]}")
    else:
        answer = door.get(f"{door.SLURM}/jobs", **({"owner": ",".join(owners)} if owners else {}))
    if answer.errno or "jobs" not in answer.document:
        raise Failure(f"slurm_load_jobs error: {answer.words or door.AWAY}")
    return answer.document


def _owners(line: Line) -> list[str]:
    """The gateway's users that -u and --me name; this system's own user is the one who logged in."""
    names = line.listed("user")
    if line.has("me"):
        names.append(str(os.getuid()))
    if not names:
        return []
    known = door.login().user
    own = {str(os.getuid())}
    with suppress(KeyError):
        own.add(pwd.getpwuid(os.getuid()).pw_name)
    return list(dict.fromkeys(known if name in own else name for name in names))


def _fits(job: Record, line: Line, wanted: frozenset[str] | None) -> bool:
    if wanted is None and not job_fields.is_active(job):
        return False
    if wanted is not None and not (job_fields.states(job) | {job_fields.base_state(job)}) & wanted:
        return False
    for option, value in (("partition", "partition"), ("name", "name"), ("account", "account"), ("qos", "qos")):
        if line.has(option) and str(job.get(value) or "") not in line.listed(option):
            return False
    if line.has("nodelist") and not _on(job, line):
        return False
    return not line.has("jobs") or _is_named(job, line.listed("jobs"))


def _on(job: Record, line: Line) -> bool:
    named = {node for value in line.given["nodelist"] for node in expand(value)}
    return bool(named & set(expand(str(job.get("nodes") or ""))))


def _is_named(job: Record, ids: Sequence[str]) -> bool:
    array, task = job_fields.array_job(job), number(job.get("array_task_id"))
    return bool({str(job["job_id"]), str(array), f"{array}_{task}"} & set(ids))


def _parts(job: Record, line: Line) -> list[Record]:
    """A job; of tasks that wait together those that are named."""
    indices, array = job_fields.waiting(job), job_fields.array_job(job)
    named = line.listed("jobs")
    if not indices or not named or str(array) in named or str(job["job_id"]) in named:
        return [job]
    return [job_fields.task_of(job, index) for index in indices if f"{array}_{index}" in named]


_KEYS: dict[str, Callable[[Record], Any]] = {
    "A": lambda job: int(job["job_id"]),
    "i": lambda job: (job_fields.array_job(job), number(job.get("array_task_id")) or 0, int(job["job_id"])),
    "j": lambda job: str(job.get("name") or ""),
    "M": job_fields.time_used,
    "p": lambda job: number(job.get("priority")) or 0,
    "P": lambda job: str(job.get("partition") or ""),
    "Q": lambda job: number(job.get("priority")) or 0,
    "S": lambda job: number(job.get("start_time")) or 0,
    "t": lambda job: compact(shown(job_fields.states(job))),
    "T": lambda job: shown(job_fields.states(job)),
    "u": lambda job: str(job.get("user_name") or ""),
    "V": lambda job: number(job.get("submit_time")) or 0,
}


def _sorted(jobs: Sequence[Record], line: Line) -> list[Record]:
    """By --sort's letters, the first counts most; what they leave equal by start time, latest first."""
    found = list(reversed(jobs))
    if line.has("only-job-state"):
        return [{**job, "array_task_string": str(job["array_task_string"]).partition("%")[0]} for job in found]
    found.sort(key=_KEYS["S"], reverse=True)
    for word in reversed((line.last("sort") or "P,t,-p").split(",")):
        letter = word.lstrip("+-")
        if letter not in _KEYS:
            raise Failure(f"squeue: error: --sort={word} is not supported: there are {', '.join(_KEYS)}")
        found.sort(key=_KEYS[letter], reverse=word.startswith("-"))
    return found
