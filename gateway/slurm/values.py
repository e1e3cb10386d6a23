"""Values of sbatch's options as fields of slurmrestd's job description, v0.0.42.

Invariant: a converter accepts what sbatch 24.11 accepts or raises ``BadValueError`` with sbatch's words and exit code,
``{name}`` standing for the option. Names of fields are those of Slurm's own OpenAPI document.
"""

from __future__ import annotations

import re
import signal as posix
from collections.abc import Callable, Mapping
from datetime import datetime

from gateway.slurm import units
from gateway.slurm.moments import moment as read_moment

Fields = Mapping[str, object]
Converter = Callable[[str, datetime], Fields]
"""Value as typed and the time of day → fields of the job description."""

FATAL = 1
"""sbatch's exit code where a value, rather than an option, is wrong."""


class BadValueError(ValueError):
    """An option's value is wrong; ``text`` has ``{name}`` where the option's name goes."""

    def __init__(self, text: str = "Invalid --{name} specification", exit_code: int = 255) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


def nothing(_value: str, _now: datetime) -> Fields:
    """Says nothing to Slurm."""
    return {}


def text(field: str) -> Converter:
    """The value itself."""
    return lambda value, _now: {field: value}


def listed(field: str) -> Converter:
    """The value as the only item of a list that Slurm joins with commas."""
    return lambda value, _now: {field: [value]}


def flag(**fields: object) -> Converter:
    """The same fields whatever the value."""
    return lambda _value, _now: fields


def number(field: str, *, least: int = 1) -> Converter:
    """A whole number of at least ``least``."""
    return lambda value, _now: {field: whole(value, least)}


def whole(value: str, least: int = 1) -> int:
    """A whole number of at least ``least`` (0 or 1) in sbatch's form."""
    try:
        return 0 if least == 0 and re.fullmatch(r"\+?0+", value) else units.count(value)
    except OverflowError as error:
        raise BadValueError(f"Numeric argument ({value}) too large for --{{name}}.", FATAL) from error
    except ValueError as error:
        raise BadValueError(f'Invalid numeric value "{value}" for --{{name}}.', FATAL) from error


def memory(field: str) -> Converter:
    """Megabytes in the form of a number that may be unset."""
    return lambda value, _now: {field: some(_megabytes(value))}


def memory_per_gpu(value: str, _now: datetime) -> Fields:
    """Megabytes for each GPU."""
    return {"memory_per_tres": f"gres/gpu:{_megabytes(value)}"}


def disk(value: str, _now: datetime) -> Fields:
    """Megabytes of temporary disk."""
    return {"temporary_disk_per_node": _megabytes(value)}


def time_limit(field: str) -> Converter:
    """Minutes in the form of a number that may be infinite."""

    def convert(value: str, _now: datetime) -> Fields:
        minutes = _guard(units.minutes, value)
        return {field: {"set": True, "infinite": True} if minutes == units.UNLIMITED else some(minutes)}

    return convert


def begin(value: str, now: datetime) -> Fields:
    """When the job may start, in seconds since the epoch."""
    return {"begin_time": some(_epoch(value, now))}


def deadline(value: str, now: datetime) -> Fields:
    """When the job must have ended, in seconds since the epoch."""
    return {"deadline": _epoch(value, now)}


def delay_boot(value: str, _now: datetime) -> Fields:
    """Seconds that a reboot may wait; given in minutes."""
    return {"delay_boot": _guard(units.seconds, value if ":" in value or "-" in value else f"{value}:0")}


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


def gres_flags(value: str, _now: datetime) -> Fields:
    """Whether generic resources are bound to the cores near them."""
    flags = {"disable-binding": "GRES_BINDING_DISABLED", "enforce-binding": "GRES_BINDING_ENFORCED"}
    if value not in flags:
        raise BadValueError(f"Invalid --gres-flags specification: {value}")
    return {"flags": [flags[value]]}


def cpus_per_gpu(value: str, _now: datetime) -> Fields:
    """Processors for each GPU."""
    return {"cpus_per_tres": f"gres/gpu:{whole(value)}"}


def prefixed(field: str, prefix: str) -> Converter:
    """The value after a fixed prefix."""
    return lambda value, _now: {field: prefix + value}


def choice(field: str, **values: object) -> Converter:
    """One of a few words, in any case."""

    def convert(value: str, _now: datetime) -> Fields:
        if value.lower() not in values:
            raise BadValueError
        return {field: values[value.lower()]}

    return convert


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


def distribution(value: str, _now: datetime) -> Fields:
    """How tasks are laid out over nodes, sockets and cores."""
    words = value.lower().split(",")
    if plane := re.fullmatch(r"plane=(\d+)", words[0], re.ASCII):
        return {"distribution": "plane", "distribution_plane_size": some(int(plane[1]))}
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


def profile(value: str, _now: datetime) -> Fields:
    """Which measurements to keep."""
    words = value.upper().split(",")
    kinds = ["ENERGY", "LUSTRE", "NETWORK", "TASK"]
    if any(word not in {"ALL", "NONE", *kinds} for word in words):
        raise BadValueError(f"invalid --profile={value} option")
    return {"profile": ["NONE"] if "NONE" in words else kinds if "ALL" in words else words}


def switches(value: str, _now: datetime) -> Fields:
    """``COUNT[@TIME]``: most switches, and how long to wait for that."""
    most, at, wait = value.partition("@")
    fields = {"required_switches": some(whole(most))}
    return {**fields, "wait_for_switch": _guard(units.minutes, wait) * 60} if at else fields


def yes_no_number(field: str, yes: object, no: object) -> Converter:
    """``1`` or ``0``."""

    def convert(value: str, _now: datetime) -> Fields:
        if whole(value or "1", least=0) > 1:
            raise BadValueError
        return {field: yes if value != "0" else no}

    return convert


def user_environment(value: str, _now: datetime) -> Fields:
    """``[TIMEOUT][S|L]``, checked and then dropped: a job never sees the submitting machine's environment."""
    if not re.fullmatch(r"\d*[SL]?", value, re.ASCII | re.IGNORECASE):
        raise BadValueError
    return {}


def some(value: int) -> dict[str, object]:
    """A number that may be unset, set."""
    return {"set": True, "number": value}


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


def _megabytes(value: str) -> int:
    return _guard(units.megabytes, value)


def _epoch(value: str, now: datetime) -> int:
    try:
        return int(read_moment(value, now).timestamp())
    except (ValueError, OverflowError) as error:
        raise BadValueError from error


def _guard(read: Callable[[str], int], value: str) -> int:
    try:
        return read(value)
    except ValueError as error:
        raise BadValueError from error
