"""sacct: the caller's jobs as the gateway has recorded them, for ever.

Invariant: fields, widths and cuts of sacct 24.11. A field of usage that nobody measured is empty, as Slurm has it where
jobs are not measured.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from gateway.cli.slurm_commands import door
from gateway.cli.slurm_commands.failure import Failure
from gateway.cli.slurm_commands.values import long_minutes, long_seconds, moment, number
from gateway.cli.slurm_commands.words import Line, Option, read
from gateway.slurm import moments
from gateway.slurm.states import JOB_STATES

Row = Mapping[str, Any]
"""A job, or its batch step: a record of slurmdbd's with ``name`` and ``step``."""

_NOT_RECORDED = "the gateway keeps no such record"
OPTIONS = {
    "accounts": Option("A", value=True),
    "allocations": Option("X"),
    "allusers": Option("a"),
    "array": Option(),
    "batch-script": Option("B", reason=_NOT_RECORDED),
    "brief": Option("b"),
    "clusters": Option("M", value=True, reason="the gateway is one cluster"),
    "completion": Option("c", reason="the gateway's own records are shown"),
    "delimiter": Option(value=True),
    "duplicates": Option("D", reason="burst job ID shows every run"),
    "endtime": Option("E", value=True),
    "env-vars": Option(reason=_NOT_RECORDED),
    "format": Option("o", value=True),
    "help": Option("h"),
    "helpformat": Option("e"),
    "jobs": Option("j", value=True),
    "json": Option(optional=True),
    "local": Option("L"),
    "long": Option("l", reason="name the fields with -o"),
    "name": Option(value=True),
    "noconvert": Option(),
    "noheader": Option("n"),
    "nodelist": Option("N", value=True, reason="name jobs or users"),
    "parsable": Option("p"),
    "parsable2": Option("P"),
    "partition": Option("r", value=True),
    "qos": Option("q", value=True, reason="the gateway's Slurm has none"),
    "starttime": Option("S", value=True),
    "state": Option("s", value=True),
    "truncate": Option("T", reason="times are shown as they are"),
    "uid": Option(value=True),
    "units": Option(value=True),
    "usage": Option(),
    "user": Option("u", value=True),
    "verbose": Option("v"),
    "version": Option("V"),
    "yaml": Option(optional=True, reason="use --json"),
}
_DEFAULT = "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode"
_BRIEF = "JobID,State,ExitCode"
_FIELD = re.compile(r"(?P<name>[A-Za-z]+)(?:%(?P<width>-?[0-9]+))?")

_EMPTY = {
    "AveCPU": 10, "AveRSS": 10, "AveVMSize": 10, "ConsumedEnergy": 14, "Layout": 9, "Licenses": 10, "MaxDiskRead": 12,
    "MaxDiskWrite": 12, "MaxRSS": 10, "MaxVMSize": 10, "ReqMem": 10, "SubmitLine": 20, "SystemCPU": 10, "TotalCPU": 10,
    "UserCPU": 10, "WCKey": 10,
}  # fmt: skip
"""Fields that Slurm has and nobody measured, with their widths."""


def run(words: Sequence[str]) -> int:
    """Print the table. Raises Failure."""
    line = read("sacct", OPTIONS, words, usage=" ")
    if line.operands:
        raise Failure(
            "sacct: error: Unknown arguments:" + "".join(f"\nsacct: error:  {word}" for word in line.operands)
        )
    if line.has("help") or line.has("usage"):
        sys.stdout.write(
            "sacct [-abnpPX] [-j jobs] [-o fields] [-S time] [-E time] [-s states] [-u users] [--name names]\n"
        )
        return 0
    if line.has("helpformat"):
        sys.stdout.write(_field_names())
        return 0
    columns = _columns(line)
    states = _states(line)
    document = _ask(line)
    jobs = [job for job in document["jobs"] if _fits(job, line, states)]
    if line.has("json"):
        sys.stdout.write(json.dumps({**document, "jobs": jobs}, indent=2) + "\n")
        return 0
    sys.stdout.write(table(jobs, columns, line))
    return 0


def table(jobs: Sequence[Row], columns: Sequence[tuple[str, int]], line: Line) -> str:
    """Header, rule and rows; or rows between delimiters."""
    rows = [row for job in jobs for row in _rows(job, line)]
    texts = [[FIELDS[name][1](row) for name, _ in columns] for row in rows]
    if line.has("parsable") or line.has("parsable2"):
        mark = line.last("delimiter") or "|"
        end = "" if line.has("parsable2") else mark
        lines = [[name for name, _ in columns]] if not line.has("noheader") else []
        return "".join(mark.join(one) + end + "\n" for one in lines + texts)
    out = []
    if not line.has("noheader"):
        out.append([_cell(name, width, mark="") for name, width in columns])
        out.append(["-" * abs(width) for _, width in columns])
    out += [[_cell(text, width) for text, (_, width) in zip(one, columns, strict=True)] for one in texts]
    return "".join("".join(f"{cell} " for cell in one) + "\n" for one in out)


def _cell(text: str, width: int, mark: str = "+") -> str:
    most = abs(width)
    if len(text) > most:
        text = text[: most - len(mark)] + mark
    return text.ljust(most) if width < 0 else text.rjust(most)


def _rows(job: Row, line: Line) -> Iterator[Row]:
    asked = {part.partition(".")[2] for part in line.listed("jobs")} - {""}
    if not asked:
        yield {**job, "step": ""}
    if line.has("allocations"):
        return
    for step in job["steps"]:
        kind = str(step["step"]["id"]).partition(".")[2]
        if not asked or kind in asked:
            yield {
                **job,
                "step": f".{kind}",
                "name": step["step"]["name"],
                "state": {"current": step["state"]},
                "nodes": step["nodes"]["range"],
                "allocation_nodes": step["nodes"]["count"],
                "exit_code": step["exit_code"],
                "partition": "",
                "user": "",
            }


def _job_id(row: Row) -> str:
    array = row["array"]
    task = number(array["task_id"])
    if array["task"]:
        name = f"{array['job_id']}_[{array['task']}]"
    else:
        name = f"{array['job_id']}_{task}" if task is not None else str(row["job_id"])
    return name + str(row["step"])


def _exit(name: str) -> Callable[[Row], str]:
    def told(row: Row) -> str:
        code = row[name]
        return f"{number(code['return_code']) or 0}:{number(code['signal']['id']) or 0}"

    return told


def _only_job(value: Callable[[Row], str]) -> Callable[[Row], str]:
    """Of what Slurm tells of a job and not of its steps."""
    return lambda row: "" if row["step"] else value(row)


def _cpus(row: Row) -> str:
    return str(next((tres["count"] for tres in row["tres"]["allocated"] if tres["type"] == "cpu"), 0))


def _time(name: str, none: str = "Unknown") -> Callable[[Row], str]:
    return lambda row: moment(row["time"][name], none)


def _text(name: str) -> Callable[[Row], str]:
    return lambda row: str(row.get(name) or "")


FIELDS: dict[str, tuple[int, Callable[[Row], str]]] = {
    "Account": (10, _text("account")),
    "AdminComment": (15, _only_job(lambda row: str(row["comment"]["administrator"]))),
    "AllocCPUS": (10, _cpus),
    "AllocNodes": (10, lambda row: str(row["allocation_nodes"])),
    "Cluster": (10, _text("cluster")),
    "Comment": (14, _only_job(lambda row: str(row["comment"]["job"]))),
    "Constraints": (19, _only_job(_text("constraints"))),
    "CPUTime": (10, lambda row: long_seconds(int(_cpus(row)) * row["time"]["elapsed"])),
    "CPUTimeRAW": (10, lambda row: str(int(_cpus(row)) * row["time"]["elapsed"])),
    "DerivedExitCode": (15, _only_job(_exit("derived_exit_code"))),
    "Elapsed": (10, lambda row: long_seconds(row["time"]["elapsed"])),
    "ElapsedRaw": (10, lambda row: str(row["time"]["elapsed"])),
    "Eligible": (19, _only_job(_time("eligible"))),
    "End": (19, _time("end")),
    "ExitCode": (8, _exit("exit_code")),
    "Group": (9, _text("group")),
    "JobID": (-12, _job_id),
    "JobIDRaw": (-12, lambda row: f"{row['job_id']}{row['step']}"),
    "JobName": (10, _text("name")),
    "NCPUS": (10, _cpus),
    "NNodes": (8, lambda row: str(row["allocation_nodes"] or row["required"]["nodes"])),
    "NodeList": (15, _text("nodes")),
    "NTasks": (8, lambda row: "1" if row["step"] else ""),
    "Partition": (10, _text("partition")),
    "QOS": (10, _only_job(_text("qos"))),
    "Reason": (22, _only_job(lambda row: str(row["state"]["reason"]))),
    "ReqCPUS": (8, lambda row: str(row["required"]["CPUs"])),
    "ReqNodes": (8, lambda row: str(row["required"]["nodes"])),
    "Restarts": (8, _only_job(lambda row: str(row["restart_cnt"]))),
    "Start": (19, _time("start")),
    "State": (10, lambda row: str(row["state"]["current"][0])),
    "StdErr": (20, _only_job(_text("stderr"))),
    "StdOut": (20, _only_job(_text("stdout"))),
    "Submit": (19, _time("submission")),
    "Timelimit": (10, _only_job(lambda row: long_minutes(number(row["time"]["limit"]), ""))),
    "TimelimitRaw": (10, _only_job(lambda row: str(number(row["time"]["limit"])))),
    "User": (9, _text("user")),
    "WorkDir": (20, _only_job(_text("working_directory"))),
    **{name: (width, lambda _: "") for name, width in _EMPTY.items()},
}
"""Name → width (negative: left-justified), value."""


def _field_names() -> str:
    """As --helpformat: four columns of names."""
    names = sorted(FIELDS, key=str.lower)
    rows = [names[start : start + 4] for start in range(0, len(names), 4)]
    return "".join("".join(f"{name:<20}" for name in row).rstrip() + "\n" for row in rows)


def _columns(line: Line) -> list[tuple[str, int]]:
    """Names and widths of the fields that are asked for. Raises Failure."""
    asked = line.listed("format") or (_BRIEF if line.has("brief") else os.environ.get("SACCT_FORMAT", _DEFAULT)).split(
        ","
    )
    return [_column(word) for word in asked if word.strip()]


def _column(word: str) -> tuple[str, int]:
    match = _FIELD.fullmatch(word.strip())
    found = [name for name in FIELDS if match and name.lower().startswith(match["name"].lower())]
    if match is None or not found:
        raise Failure(f'sacct: error: Invalid field requested: "{word.partition("%")[0]}"')
    exact = [name for name in found if name.lower() == match["name"].lower()]
    name = (exact or found)[0]
    if match["width"] is None:
        return name, FIELDS[name][0]
    width = int(match["width"])
    return name, -abs(width) if name.startswith("JobID") and width < 0 else width


def _states(line: Line) -> frozenset[str]:
    names = {**{name: name for name in JOB_STATES}, **{code: name for name, code in JOB_STATES.items()}}
    for word in line.listed("state"):
        if word.upper() not in names:
            raise Failure(f"sacct: fatal: unrecognized job state value '{word}'")
    return frozenset(names[word.upper()] for word in line.listed("state"))


def _ask(line: Line) -> Mapping[str, Any]:
    query: dict[str, str] = {}
    jobs = line.listed("jobs")
    for job in jobs:
        if not re.fullmatch(r"[0-9]+(_[0-9]+)?(\.[A-Za-z0-9+]+)?", job):
            raise Failure(f"sacct: fatal: Bad job/step specified: {job}")
    if jobs:
        query["step"] = ",".join(jobs)
    if users := _users(line):
        query["users"] = ",".join(users)
    if line.listed("name"):
        query["job_name"] = ",".join(line.listed("name"))
    query |= _window(line, whole=bool(jobs))
    answer = door.get(f"{door.SLURMDB}/jobs", **query)
    if answer.errno or "jobs" not in answer.document:
        raise Failure(f"sacct: error: {answer.words or 'Unable to contact slurm accounting storage'}")
    return answer.document


def _users(line: Line) -> list[str]:
    """This system's own user is the one who logged in."""
    own = {str(os.getuid())}
    with suppress(KeyError):
        own.add(pwd.getpwuid(os.getuid()).pw_name)
    names = [*line.listed("user"), *line.listed("uid")]
    return [door.login().user if name in own else name for name in names]


def _window(line: Line, *, whole: bool) -> dict[str, str]:
    """Since midnight, unless jobs are named or times are given."""
    now = datetime.now(UTC).astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    found: dict[str, str] = {}
    if line.has("starttime") or not whole:
        found["start_time"] = str(int(_moment(line.last("starttime"), midnight, now).timestamp()))
    if line.has("endtime"):
        found["end_time"] = str(int(_moment(line.last("endtime"), now, now).timestamp()))
    return found


def _moment(text: str | None, default: datetime, now: datetime) -> datetime:
    if text is None:
        return default
    if text.isdecimal() and len(text) > len("YYMMDD"):
        return datetime.fromtimestamp(int(text), UTC)
    if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?|midnight|noon", text):
        text = f"today {text}"  # a time of day lies behind us here, before us in sbatch
    try:
        return moments.moment(text, now)
    except (ValueError, OverflowError):
        raise Failure(f"sacct: error: Invalid time specification: {text}") from None


def _fits(job: Row, line: Line, states: frozenset[str]) -> bool:
    if states and not states & set(job["state"]["current"]):
        return False
    for option, name in (("accounts", "account"), ("partition", "partition")):
        if line.has(option) and job[name] not in line.listed(option):
            return False
    return True
