"""sbatch's options: read from words or from SBATCH_* variables, and turned into slurmrestd's job description.

Invariant: a mapping of options has long names and values as typed ("" for a flag), and every value in it converts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.errors import OptionError
from gateway.slurm import units
from gateway.slurm.getopt import LONG, TRY_HELP, Given, scan
from gateway.slurm.option_table import TABLE, Argument, Option, Support
from gateway.slurm.values import BadValueError

__all__ = [
    "TABLE", "TRY_HELP", "Argument", "Given", "Option", "Parsed", "Support",
    "check", "environment", "from_environment", "merge", "parse", "rest_fields",
]  # fmt: skip

_MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")
_JOINED = ("tres_per_job", "tres_per_node", "tres_per_socket", "tres_per_task")


@dataclass(frozen=True)
class Parsed:
    """A command line: its options by long name, and the words after them."""

    options: Mapping[str, str]
    rest: tuple[str, ...]


def parse(words: Sequence[str]) -> Parsed:
    """Read options up to the first other word, as ``sbatch [OPTIONS] script [args]`` does.

    Raises ``OptionError`` in sbatch's words, with sbatch's exit code.

    >>> parse(["-N2", "--time=5", "job.sh", "-x"])
    Parsed(options={'nodes': '2', 'time': '5'}, rest=('job.sh', '-x'))
    """
    options: dict[str, str] = {}
    rest = 0
    for item in scan(words):
        if isinstance(item, int):
            rest = item
        else:
            check(item.option, item.value)
            put(options, item.option, item.value)
    return Parsed(options, tuple(words[rest:]))


def from_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Options that SBATCH_* variables set; those of no option are passed over, as sbatch does.

    Flags are on for an empty value, ``yes`` and any number but 0 (sbatch(1), INPUT ENVIRONMENT VARIABLES).
    """
    options: dict[str, str] = {}
    for option in TABLE:
        for name in option.environment:
            if name not in variables:
                continue
            value = variables[name]
            if option.argument is Argument.NONE:
                if not _is_on(value):
                    continue
                value = ""
            check(option, value)
            put(options, option, value)
    if "switches" in options and variables.get("SBATCH_WAIT4SWITCH"):
        options["switches"] = options["switches"].partition("@")[0] + "@" + variables["SBATCH_WAIT4SWITCH"]
    return options


def put(options: dict[str, str], option: Option, value: str) -> None:
    """Set an option; it unsets those that it replaces."""
    for name in option.replaces:
        options.pop(name, None)
    options[option.name] = value


def merge(script: Mapping[str, str], variables: Mapping[str, str], command: Mapping[str, str]) -> dict[str, str]:
    """One set of options; SBATCH_* variables win over the script, the command line over both.

    Raises ``OptionError`` (exit code 1) for options that exclude each other.
    """
    typed = script.keys() | command.keys()
    if sum(name in typed for name in _MEMORY) > 1:
        message = "--mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive."
        raise OptionError(message, option="--mem", exit_code=1)
    if {"exclusive", "oversubscribe"} <= typed:
        message = "--exclusive and --oversubscribe options are mutually exclusive"
        raise OptionError(message, option="--exclusive", exit_code=1)
    options: dict[str, str] = {}
    memory_typed = any(name in typed for name in _MEMORY)
    for source in (script, variables, command):
        for name, value in source.items():
            if not (memory_typed and source is variables and name in _MEMORY):
                put(options, LONG[name], value)
    return options


def check(option: Option, value: str, now: datetime | None = None) -> Mapping[str, object]:
    """The fields that a value becomes. Raises ``OptionError``: a wrong value, or an option that is refused."""
    if option.support is Support.REFUSED:
        raise OptionError(
            f"--{option.name} is not supported: {option.reason}",
            option=f"--{option.name}",
            exit_code=1,
            hint=f"remove --{option.name}",
        )
    try:
        return option.convert(value, now or datetime.now(UTC).astimezone())
    except BadValueError as error:
        message = error.text.replace("{name}", option.name)
        raise OptionError(message, option=f"--{option.name}", exit_code=error.exit_code) from error


def rest_fields(options: Mapping[str, str], *, now: datetime | None = None) -> dict[str, object]:
    """The job description of slurmrestd (v0.0.42) for these options, but for script, environment and directory.

    ``now`` with its zone is what times such as ``noon`` are read against; default: this machine's clock and zone.
    As sbatch does, it adds the processors that tasks need, and takes nodes away that no task could use.

    >>> rest_fields({"ntasks": "4", "cpus-per-task": "2"})
    {'cpus_per_task': 2, 'tres_per_task': 'cpu=2', 'tasks': 4, 'minimum_cpus': 8}
    """
    fields: dict[str, object] = {}
    for name in sorted(options):
        _add(fields, check(LONG[name], options[name], now).items())
    fields.update(_implied(options, str(fields.get("nodes", ""))))
    return fields


def environment(options: Mapping[str, str]) -> dict[str, str]:
    """The variables that sbatch itself puts into a job's environment for these options (srun reads them there)."""
    variables = {variable: options[name] for name, variable in _ENVIRONMENT.items() if options.get(name)}
    if "ntasks" in options:
        variables["SLURM_NPROCS"] = options["ntasks"]
    return variables


_ENVIRONMENT = {
    "cpus-per-task": "SLURM_CPUS_PER_TASK",
    "distribution": "SLURM_DISTRIBUTION",
    "ntasks": "SLURM_NTASKS",
    "ntasks-per-core": "SLURM_NTASKS_PER_CORE",
    "ntasks-per-gpu": "SLURM_NTASKS_PER_GPU",
    "ntasks-per-node": "SLURM_NTASKS_PER_NODE",
    "ntasks-per-socket": "SLURM_NTASKS_PER_SOCKET",
    "threads-per-core": "SLURM_THREADS_PER_CORE",
}


def _is_on(value: str) -> bool:
    if value in {"", "yes"}:
        return True
    digits = value.lstrip("+-")
    return digits.isdecimal() and int(digits) != 0


def _add(fields: dict[str, object], new: Iterable[tuple[str, object]]) -> None:
    """Lists grow, resources of the same kind are joined with commas, anything else is set."""
    for name, value in new:
        old = fields.get(name)
        if isinstance(old, list) and isinstance(value, list):
            fields[name] = [*old, *value]
        elif name in _JOINED and old:
            fields[name] = f"{old},{value}"
        else:
            fields[name] = value


def _implied(options: Mapping[str, str], nodes_text: str) -> dict[str, object]:
    """What sbatch itself works out before it submits: processors for all tasks, and only nodes that a task can use."""
    nodes = units.node_range(options["nodes"]) if "nodes" in options else None
    tasks = int(options["ntasks"]) if "ntasks" in options else None
    per_node = int(options.get("ntasks-per-node", "0"))
    implied: dict[str, object] = {}
    if nodes and tasks:
        implied["nodes"] = _usable_nodes(nodes, tasks, nodes_text)
    elif per_node and tasks:
        implied["minimum_nodes"] = -(-tasks // per_node)
    if tasks is None:
        tasks = max(1, nodes.fewest) if nodes and nodes.fewest == nodes.most else 1
    if "overcommit" in options:
        implied["minimum_cpus"] = max(1, nodes.fewest) if nodes else 1
    else:
        implied["minimum_cpus"] = tasks * int(options.get("cpus-per-task", "1"))
    return implied


def _usable_nodes(nodes: units.NodeRange, tasks: int, text: str) -> str:
    """No more nodes than tasks, as sbatch has it."""
    if nodes.most <= tasks:
        return text
    fewest = min(nodes.fewest, tasks)
    return str(tasks) if fewest == tasks else f"{fewest}-{tasks}"
