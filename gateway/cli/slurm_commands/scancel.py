"""scancel: end the caller's jobs, or send them a signal.

Invariant: a job that is not there, or has ended, is no error unless a signal was to reach it.
"""

from __future__ import annotations

import re
import signal as signals
import sys
from collections.abc import Iterator, Sequence

from gateway.cli.slurm_commands import squeue
from gateway.cli.slurm_commands.door import Answer
from gateway.cli.slurm_commands.failure import Failure
from gateway.cli.slurm_commands.job_fields import array_job, is_active, job_name
from gateway.cli.slurm_commands.table_format import Record
from gateway.cli.slurm_commands.words import Line, Option, read

_REASON = "the gateway's jobs have none"
OPTIONS = {
    "account": Option("A", value=True),
    "admin-comment": Option(value=True, reason="it holds the gateway's own id of a job"),
    "batch": Option("b", reason="a signal reaches the steps of a job"),
    "clusters": Option("M", value=True, reason="the gateway is one cluster"),
    "cron": Option("c", reason="there are no scrontab jobs"),
    "ctld": Option(),
    "full": Option("f", reason="a signal reaches the steps of a job"),
    "help": Option(),
    "hurry": Option("H", reason="outputs are always staged out"),
    "interactive": Option("i", reason="give the ids of the jobs"),
    "jobname": Option(value=True),
    "me": Option(),
    "name": Option("n", value=True),
    "nodelist": Option("w", value=True),
    "partition": Option("p", value=True),
    "qos": Option("q", value=True, reason=_REASON),
    "quiet": Option("Q"),
    "reservation": Option("R", value=True, reason=_REASON),
    "sibling": Option(value=True, reason="the gateway is one cluster"),
    "signal": Option("s", value=True),
    "state": Option("t", value=True),
    "usage": Option(),
    "user": Option("u", value=True),
    "verbose": Option("v"),
    "version": Option("V"),
    "wckey": Option(value=True, reason=_REASON),
}
_FILTERS = {"account": "account", "jobname": "name", "name": "name", "nodelist": "nodelist", "partition": "partition"}
_FILTERS |= {"user": "user", "me": "me"}
_ID = re.compile(r"[0-9]+(?:_(?:[0-9]+|\[[0-9,%-]+\]))?")
_ENDED, _UNKNOWN = 2021, 2017


def run(words: Sequence[str]) -> int:
    """End what is named or fits; 1 where a signal found no job. Raises Failure."""
    line = read("scancel", OPTIONS, words)
    if line.has("help") or line.has("usage"):
        sys.stdout.write("scancel [-Qv] [-A account] [-n job_name] [-p partition] [-s signal] [-t state] [-u user_name]"
                         " [-w nodelist] [--me] [job_id[_array_id]]...\n")  # fmt: skip
        return 0
    number = _signal(line)
    filtered = any(line.has(name) for name in (*_FILTERS, "state"))
    named = [one for word in line.operands for one in _targets(word)]
    if not named and not filtered:
        raise Failure("scancel: error: No job identification provided")
    targets = _fitting(line, named) if filtered else named
    told = [_end(target, number, line) for target in targets]
    return int(any(told))


def _end(target: str, number: int | None, line: Line) -> bool:
    """Whether it failed in a way that counts."""
    from gateway.cli.slurm_commands import signed  # noqa: PLC0415 - loads what signs

    if line.has("verbose"):
        what = f"Signal {number} to job" if number else "Terminating job"
        sys.stderr.write(f"scancel: {what} {target}\n")
    query = f"?signal={number}" if number else ""
    answer = signed.send("DELETE", f"/job/{target}{query}")
    code, text = _outcome(answer)
    if not code and not text:
        return False
    harmless = code in {_ENDED, _UNKNOWN} and not number
    if (line.has("verbose") or not harmless) and not (line.has("quiet") and harmless):
        sys.stderr.write(f"scancel: error: Kill job error on job id {target}: {text}\n")
    return not harmless


def _outcome(answer: Answer) -> tuple[int, str]:
    if answer.words:
        return answer.errno, answer.words
    failed = [one["error"] for one in answer.document.get("status") or () if (one.get("error") or {}).get("code")]
    return (int(failed[0]["code"]), str(failed[0]["string"])) if failed else (0, "")


def _signal(line: Line) -> int | None:
    name = line.last("signal")
    if name is None:
        return None
    if name.isdecimal():
        return int(name)
    known = getattr(signals, f"SIG{name.upper().removeprefix('SIG')}", None)
    if not isinstance(known, signals.Signals):
        raise Failure(f"Unknown job signal: {name}")
    return int(known)


def _targets(word: str) -> Iterator[str]:
    """``12_[1-3]`` as its tasks. Raises Failure."""
    for part in re.split(r",(?![^\[]*\])", word):
        if not _ID.fullmatch(part):
            raise Failure(f"scancel: error: Invalid job id {part}")
        job, _, tasks = part.partition("_")
        if not tasks.startswith("["):
            yield part
            continue
        if "%" in tasks:
            raise Failure(f"scancel: error: Invalid job id {part}")
        for ends in tasks.strip("[]").split(","):
            low, dash, high = ends.partition("-")
            yield from (f"{job}_{task}" for task in range(int(low), int(high if dash else low) + 1))


def _fitting(line: Line, named: Sequence[str]) -> list[str]:
    """The caller's jobs that fit all filters, of those that are named if any is."""
    words = ["-h"]
    for name, option in _FILTERS.items():
        words += [f"--{option}" if name == "me" else f"--{option}={value}" for value in line.given.get(name, ())]
    if line.has("state"):
        words.append(f"--states={line.last('state')}")
    jobs = [job for job in squeue.wanted(words) if is_active(job)]
    own = [(job, {str(job["job_id"]), str(array_job(job)), job_name(job)}) for job in jobs]
    chosen = [job for job, names in own if not named or names & set(named)]
    return list(dict.fromkeys(_whole(job) for job in chosen))


def _whole(job: Record) -> str:
    return str(array_job(job)) if job.get("array_task_string") else job_name(job)
