"""Values of options about a job's time, signals, mail and files, as fields of slurmrestd's job description.

Invariant: that of ``gateway.slurm.values``.
"""

from __future__ import annotations

import re
import signal as posix
from datetime import datetime

from gateway.slurm import units
from gateway.slurm.moments import moment
from gateway.slurm.values import FATAL, BadValueError, Fields, guarded, some

_MAIL = {
    "BEGIN": ["BEGIN"],
    "END": ["END"],
    "FAIL": ["FAIL"],
    "REQUEUE": ["REQUEUE"],
    "STAGE_OUT": ["STAGE_OUT"],
    "INVALID_DEPEND": ["INVALID_DEPENDENCY"],
    "ARRAY_TASKS": ["ARRAY_TASKS"],
    "TIME_LIMIT": ["TIME=100%"],
    "TIME_LIMIT_90": ["TIME=90%"],
    "TIME_LIMIT_80": ["TIME=80%"],
    "TIME_LIMIT_50": ["TIME=50%"],
    "ALL": ["INVALID_DEPENDENCY", "BEGIN", "END", "FAIL", "REQUEUE", "STAGE_OUT"],
}
_WARN = {"B": "BATCH_JOB", "R": "RESERVATION_JOB"}
_SIGNAL = re.compile(r"(?:(?P<who>R|B|RB|BR):)?(?P<name>[A-Z]+\d?|\d+)(?P<at>@(?P<delay>\d*))?", re.ASCII)
_SIGNALS = (
    "HUP", "INT", "QUIT", "ABRT", "KILL", "ALRM", "TERM", "USR1", "USR2", "URG", "CONT", "STOP", "TSTP", "TTIN",
    "TTOU", "XCPU",
)  # fmt: skip
"""The signals that Slurm knows by name."""


def begin(value: str, now: datetime) -> Fields:
    """When the job may start, in seconds since the epoch."""
    return {"begin_time": some(_epoch(value, now))}


def deadline(value: str, now: datetime) -> Fields:
    """When the job must have ended, in seconds since the epoch."""
    return {"deadline": _epoch(value, now)}


def delay_boot(value: str, _now: datetime) -> Fields:
    """Seconds that a reboot may wait; given in minutes."""
    return {"delay_boot": guarded(units.seconds, value if ":" in value or "-" in value else f"{value}:0")}


def open_mode(value: str, _now: datetime) -> Fields:
    """How output files are opened; sbatch looks at the first letter only."""
    modes = {"a": "APPEND", "t": "TRUNCATE"}
    if value[:1] not in modes:
        raise BadValueError
    return {"open_mode": [modes[value[:1]]]}


def exclusive(value: str, _now: datetime) -> Fields:
    """Whom the job shares its nodes with."""
    if value not in {"", "exclusive", "user", "mcs", "topo"}:
        raise BadValueError
    return {"shared": ["none" if value in {"", "exclusive"} else value]}


def no_kill(value: str, _now: datetime) -> Fields:
    """Whether the loss of a node ends the job."""
    if value not in {"", "set", "off", "no"}:
        raise BadValueError
    return {"kill_on_node_fail": value in {"off", "no"}}


def nice(value: str, _now: datetime) -> Fields:
    """A lower priority; raising it is the operators' privilege, and the gateway submits as one."""
    match = re.match(r"\s*[+-]?\d+", value, re.ASCII)
    adjustment = int(match[0]) if match else 0 if value else 100
    if abs(adjustment) >= 2**31 - 2:
        raise BadValueError("Invalid --nice value, out of range (+/- 2147483645)")
    if adjustment < 0:
        raise BadValueError(f"--nice={adjustment} is refused: only operators of Slurm raise a job's priority", FATAL)
    return {"nice": adjustment}


def mail_type(value: str, _now: datetime) -> Fields:
    """Events that send mail; unknown words after a known one are passed over, as sbatch does."""
    events: list[str] = []
    for word in value.upper().split(","):
        if word == "NONE":
            return {}
        if word not in _MAIL:
            break
        events.extend(_MAIL[word])
    if not events:
        raise BadValueError
    return {"mail_type": events}


def signal(value: str, _now: datetime) -> Fields:
    """``[R][B]:SIGNAL[@SECONDS]``: what to send before the time limit, 60 s before it by default."""
    match = _SIGNAL.fullmatch(value.upper())
    delay = int((match["delay"] or 0) if match["at"] else 60) if match else 0
    if match is None or delay > 65535:  # noqa: PLR2004 - Slurm keeps it in 16 bits
        raise BadValueError
    flags = [_WARN[letter] for letter in sorted(match["who"] or "")]
    fields = {"kill_warning_signal": _signal_name(match["name"]), "kill_warning_delay": some(delay)}
    return {**fields, "kill_warning_flags": flags} if flags else fields


def profile(value: str, _now: datetime) -> Fields:
    """Which measurements to keep."""
    words = value.upper().split(",")
    kinds = ["ENERGY", "LUSTRE", "NETWORK", "TASK"]
    if any(word not in {"ALL", "NONE", *kinds} for word in words):
        raise BadValueError(f"invalid --profile={value} option")
    return {"profile": ["NONE"] if "NONE" in words else kinds if "ALL" in words else words}


def sampling(value: str, _now: datetime) -> Fields:
    """Seconds between samples: ``30`` or ``task=10,energy=60``."""
    if not re.fullmatch(r"\d+|(task|energy|network|filesystem)=\d+(,(task|energy|network|filesystem)=\d+)*", value):
        raise BadValueError(f"Invalid --acctg-freq specification: {value}")
    return {"account_gather_frequency": value}


def user_environment(value: str, _now: datetime) -> Fields:
    """``[TIMEOUT][S|L]``, checked and then dropped: a job never sees the submitting machine's environment."""
    if not re.fullmatch(r"\d*[SL]?", value, re.ASCII | re.IGNORECASE):
        raise BadValueError
    return {}


def _signal_name(word: str) -> str:
    if word.isdecimal():
        known = {int(getattr(posix, "SIG" + name)): name for name in _SIGNALS}
        if int(word) == 0:
            raise BadValueError
        return known.get(int(word), word)
    name = word.removeprefix("SIG")
    if name not in _SIGNALS:
        raise BadValueError
    return name


def _epoch(value: str, now: datetime) -> int:
    try:
        return int(moment(value, now).timestamp())
    except (ValueError, OverflowError) as error:
        raise BadValueError from error
