"""scontrol: what a user of a cluster does with it: show, hold, release, requeue, ping, host lists.

Invariant: an abbreviated keyword is the one that it begins; what administrators do is refused by name.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence

from gateway.cli.slurm_commands import door, reports
from gateway.cli.slurm_commands.failure import Failure, refused
from gateway.cli.slurm_commands.hosts import expand, fold
from gateway.cli.slurm_commands.job_fields import array_job, job_name, task_of, waiting
from gateway.cli.slurm_commands.table_format import Record
from gateway.cli.slurm_commands.words import Line, Option, read
from gateway.errors import BurstError

OPTIONS = {
    "all": Option("a"),
    "clusters": Option("M", value=True, reason="the gateway is one cluster"),
    "details": Option("d"),
    "future": Option("F"),
    "help": Option("h"),
    "hide": Option(),
    "json": Option(optional=True, reason="use squeue --json, or ask the gateway: GET /slurm/v0.0.42"),
    "local": Option(),
    "oneliner": Option("o"),
    "quiet": Option("Q"),
    "sibling": Option(reason="the gateway is one cluster"),
    "uid": Option("u", value=True, reason="a request is its signer's"),
    "verbose": Option("v"),
    "version": Option("V"),
    "yaml": Option(optional=True, reason="use squeue --json"),
}
_ADMINISTRATORS = "it is for administrators of a Slurm: the gateway configures its own"
_REFUSED = (
    "abort", "cancel_reboot", "cluster", "create", "delete", "errnumstr", "fsdampeningfactor", "getaddrs", "listjobs",
    "listpids", "liststeps", "notify", "power", "pidinfo", "reboot", "reconfigure", "requeuehold", "resume",
    "schedloglevel", "setdebug", "setdebugflags", "shutdown", "suspend", "takeover", "top", "update",
    "wait_job", "write",
)  # fmt: skip
_KEYWORDS = ("show", "hold", "uhold", "release", "requeue", "ping", "token", "version", "help", *_REFUSED)
_NOT_TOLD = "slurmrestd v0.0.42 does not tell it"
_ENTITIES = (
    "jobs", "nodes", "partitions", "hostnames", "hostlist", "hostlistsorted", "config", "steps", "reservations",
    "daemons", "licenses", "topology", "bbstat", "burstbuffer", "dwstat", "assoc_mgr", "federation", "aliases",
    "slurmd",
)  # fmt: skip
_HELP = """scontrol [-aoQ] show job|node|partition [ID], show hostnames|hostlist [LIST], hold|release|requeue JOB...,
         token [lifespan=SECONDS], ping, version
"""


def run(words: Sequence[str]) -> int:
    """Do what the first word says. Raises Failure."""
    line = read("scontrol", OPTIONS, words)
    if line.has("help") or not line.operands:
        sys.stdout.write(_HELP)
        return 0
    keyword, *rest = line.operands
    found = _whole(keyword, _KEYWORDS)
    if found is None:
        raise Failure(f"invalid keyword: {keyword}")
    if found in _REFUSED:
        raise refused("scontrol", found, _ADMINISTRATORS)
    return _DO[found](rest, line)


def _whole(word: str, known: Sequence[str]) -> str | None:
    """The first keyword that begins with the word; of entities also without their plural's s."""
    return next((name for name in known if word and name.startswith(word.lower())), None)


def _show(words: Sequence[str], line: Line) -> int:
    if not words:
        raise Failure("too few arguments for keyword:show")
    entity, _, value = words[0].partition("=")
    name = value or (words[1] if len(words) > 1 else "")
    entity = _whole({"jobid": "jobs", "hosts": "hostnames"}.get(entity.lower(), entity), _ENTITIES) or ""
    shows: dict[str, Callable[[str, Line], int]] = {
        "jobs": _jobs, "nodes": _nodes, "partitions": _partitions, "hostnames": _hostnames, "hostlist": _hostlist,
        "hostlistsorted": _hostlist,
    }  # fmt: skip
    if not entity:
        raise Failure(f"invalid entity:{words[0]} for keyword:show ")
    if entity not in shows:
        raise refused("scontrol", f"show {entity}", _NOT_TOLD)
    return shows[entity](name.partition("=")[2] or name, line)


def _jobs(name: str, line: Line) -> int:
    if name and not re.fullmatch(r"[0-9]+(_[0-9]+)?", name):
        raise Failure("scontrol_print_job error: Invalid job id specified")
    path = f"{door.SLURM}/job/{name.partition('_')[0]}" if name else f"{door.SLURM}/jobs"
    answer = door.get(path)
    if answer.errno or "jobs" not in answer.document:
        raise Failure(f"slurm_load_jobs error: {answer.words or door.AWAY}")
    jobs = [part for job in answer.document["jobs"] for part in _parts(job, name)]
    if name and not jobs:
        raise Failure("slurm_load_jobs error: Invalid job id specified")
    sys.stdout.write("".join(reports.job(job, one_line=line.has("oneliner")) for job in jobs))
    if not jobs:
        sys.stdout.write("No jobs in the system\n")
    return 0


def _parts(job: Record, name: str) -> list[Record]:
    """A job if it is named, or if none is; of tasks that wait together the one that is named."""
    array, names = array_job(job), {str(job["job_id"]), str(array_job(job)), job_name(job)}
    if not name or name in names:
        return [job]
    return [task_of(job, index) for index in waiting(job) if name == f"{array}_{index}"]


def _nodes(name: str, line: Line) -> int:
    nodes = _get("nodes").document["nodes"]
    wanted = expand(name) if name else [node["name"] for node in nodes]
    known = {node["name"]: node for node in nodes}
    for one in wanted:
        if one not in known:
            sys.stdout.write(f"Node {one} not found\n")
            return 1
        sys.stdout.write(reports.node(known[one], one_line=line.has("oneliner")))
    return 0


def _partitions(name: str, line: Line) -> int:
    answer = _get("partitions")
    default = answer.headers.get("x-burst-default-partition", "")
    found = [one for one in answer.document["partitions"] if not name or one["name"] == name]
    if not found:
        sys.stdout.write(f"Partition {name} not found\n")
        return 1
    sys.stdout.write("".join(reports.partition(one, default, one_line=line.has("oneliner")) for one in found))
    return 0


def _get(kind: str) -> door.Answer:
    answer = door.get(f"{door.SLURM}/{kind}")
    if answer.errno or kind not in answer.document:
        raise Failure(f"slurm_load_{kind} error: {answer.words or door.AWAY}")
    return answer


def _hostnames(text: str, line: Line) -> int:  # noqa: ARG001
    text = text or os.environ.get("SLURM_NODELIST", "")
    if not text:
        sys.stderr.write("host list is empty\n")
        return 0
    sys.stdout.write("".join(f"{name}\n" for name in _expanded(text)))
    return 0


def _hostlist(text: str, line: Line) -> int:  # noqa: ARG001
    if not text:
        sys.stderr.write("host list is empty\n")
        return 0
    sys.stdout.write(f"{fold(_expanded(text))}\n")
    return 0


def _expanded(text: str) -> list[str]:
    try:
        return expand(text)
    except ValueError:
        raise Failure("Invalid hostlist: " + text) from None


def _hold(words: Sequence[str], line: Line) -> int:  # noqa: ARG001
    return _change(words, "hold", hold=True)


def _release(words: Sequence[str], line: Line) -> int:  # noqa: ARG001
    return _change(words, "release", hold=False)


def _change(words: Sequence[str], keyword: str, *, hold: bool) -> int:
    from gateway.cli.slurm_commands import signed  # noqa: PLC0415 - loads what signs

    failed = False
    for job in _listed(words, keyword):
        answer = signed.send("POST", f"/job/{job}", {"hold": hold})
        if answer.errno:
            sys.stderr.write(f"{answer.words} for job {job}\nslurm_suspend error: {answer.words}\n")
            failed = True
    return int(failed)


def _requeue(words: Sequence[str], line: Line) -> int:  # noqa: ARG001
    from gateway.cli.slurm_commands import signed  # noqa: PLC0415 - loads what signs

    failed = False
    for job in _listed(words, "requeue"):
        try:
            signed.requeue(job)
        except BurstError as error:
            sys.stderr.write(f"{error.detail.partition(' for job ')[0]} for job {job}\n")
            failed = True
    return int(failed)


def _listed(words: Sequence[str], keyword: str) -> list[str]:
    jobs = [job for word in words for job in word.removeprefix("jobid=").split(",") if job]
    if not jobs:
        raise Failure(f"too few arguments for keyword:{keyword}")
    for job in jobs:
        if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job):
            raise Failure(f"Invalid job id specified for job {job}")
    return jobs


def _ping(words: Sequence[str], line: Line) -> int:  # noqa: ARG001
    answer = door.get(f"{door.SLURM}/ping")
    pings = answer.document.get("pings") or []
    if not pings:
        raise Failure(f"scontrol: error: {answer.words or door.AWAY}")
    for one in pings:
        state = "UP" if one["responding"] else "DOWN"
        sys.stdout.write(f"Slurmctld({one['mode']}) at {one['hostname']} is {state}\n")
    return int(not any(one["responding"] for one in pings))


def _token(words: Sequence[str], line: Line) -> int:  # noqa: ARG001
    from gateway.cli.slurm_commands import signed  # noqa: PLC0415 - loads what signs

    lifespan = None
    for word in words:
        name, _, value = word.partition("=")
        if name != "lifespan" or not value.isdecimal() or not int(value):
            raise refused("scontrol", f"token {word}", "a token is its signer's: token [lifespan=SECONDS]")
        lifespan = int(value)
    sys.stdout.write(f"SLURM_JWT={signed.token(lifespan)}\n")
    return 0


def _version(words: Sequence[str], line: Line) -> int:  # noqa: ARG001
    sys.stdout.write(f"slurm-wlm {door.RELEASE}\n")
    return 0


def _help(words: Sequence[str], line: Line) -> int:  # noqa: ARG001
    sys.stdout.write(_HELP)
    return 0


_DO: dict[str, Callable[[Sequence[str], Line], int]] = {
    "show": _show,
    "hold": _hold,
    "uhold": _hold,
    "release": _release,
    "requeue": _requeue,
    "ping": _ping,
    "token": _token,
    "version": _version,
    "help": _help,
}
