"""Every answer of the real sbatch 24.11.5, against ours: same options, or same words and exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import OptionError, ScriptError
from gateway.intake import directives
from gateway.slurm import options as slurm
from gateway.slurm.getopt import LONG

RECORDED = Path(__file__).parents[2] / "recorded" / "24.11.5"


def recorded(name: str) -> dict[str, Any]:
    """A file of answers that Slurm 24.11.5 gave (tests/recorded/README.md)."""
    return json.loads((RECORDED / f"{name}.json").read_text())


CASES = recorded("sbatch")

REFUSED_BY_NAME = {
    "hetjob": "heterogeneous",
    "packjob": "heterogeneous",
    "hetjob_upper": "heterogeneous",
    "pbs": "#PBS",
    "pbs_after_cmd": "#PBS",
    "pbs_and_sbatch": "#PBS",
    "bsub": "#BSUB",
    "nice=-5": "operators",
    "B_tasks": "extra-node-info",
}
"""Accepted by sbatch, refused here, with a word of the reason."""

STRICTER = {
    "gres=": "a resource without a name",
    "gres=gpu:x": "slurmctld refuses it",
    "gpus=": "slurmctld refuses it",
    "gpus=x": "slurmctld refuses it",
    "gpus-per-node=x": "slurmctld refuses it",
    "gres-flags=multiple-tasks-per-sharing": "no field in the job description",
    "gres=gpu:2k": "a thousand GPUs on one node",
}
"""Accepted by sbatch itself, refused here at once, because nothing could come of it."""

NOT_OURS = {
    "wrap_args": "the command checks it (cli)",
    "cli_dash_first": "the command opens the file (cli)",
    "gres=foo:1": "needs slurm.conf's GresTypes: slurmctld says it",
    "gpus-per-task=1": "gateway.intake.resources says it",
    "gpus_per_task_no_n": "gateway.intake.resources says it",
    "gpus-per-socket=1": "slurmctld says it",
    "cpus-per-gpu=2": "slurmctld says it",
    "ntasks-per-gpu=1": "slurmctld says it",
    "mem-per-gpu=1G": "slurmctld says it",
    "tres-per-task=gres/gpu:1": "slurmctld says it",
    "cpus_and_tres": "slurmctld says it",
    "distribution=arbitrary": "slurmctld says it",
    "propagate=x": "has no effect here",
    "pbs_bad": "#PBS is refused anyway",
    "pbsword": "#PBS is refused anyway",
    "env_switch": "sbatch's own log shows no name",
    "hetjob_later": "sbatch's own log shows another component",
}
"""Where sbatch's answer comes from what this layer does not know."""

OTHER_WORDS = {"nodes=1-2-3", "gres-flags=one-task-per-sharing", "gres-flags=allow-task-sharing"}
"""Refused with sbatch's exit code, in words of our own."""

SILENT = {"cpu-freq": "Slurm checks it", "gpu-bind": "slurmctld checks it", "gpu-freq": "slurmctld checks it"}
"""Options whose values are passed on unchecked."""


def ask(case: dict) -> dict[str, str]:
    """Options as the gateway reads them from a recorded case."""
    command = slurm.parse(case.get("argv", []))
    variables = slurm.from_environment(case.get("env", {}))
    found = directives.read(case["script"], ignore_pbs="ignore-pbs" in {**command.options, **variables})
    return slurm.merge(found.options, variables, command.options)


def names(case: dict) -> set[str]:
    """Options that sbatch says it has, with its doubles for one setting taken out."""
    shown = set(case["options"])
    if {"requeue", "no-requeue"} <= shown:
        shown.discard("requeue" if case["options"]["requeue"] == "no-requeue" else "no-requeue")
    return shown


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "options" in case])
def test_what_sbatch_accepts_is_read_as_sbatch_reads_it(name: str) -> None:
    """Accepted input gives the same set of options."""
    case = CASES[name]
    option = name.partition("=")[0]
    refused = option in LONG and LONG[option].support is slurm.Support.REFUSED
    if refused or name in REFUSED_BY_NAME or name in STRICTER or name in NOT_OURS:
        return
    hidden = {"quiet", "verbose", "extra-node-info"}
    assert set(ask(case)) - hidden == names(case) - hidden


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "options" in case])
def test_values_are_those_of_sbatch(name: str) -> None:
    """Accepted text keeps its value through quotes, escapes and precedence."""
    case = CASES[name]
    if name in REFUSED_BY_NAME or name in STRICTER or name in NOT_OURS:
        return
    for option in ("job-name", "comment", "partition", "array", "dependency", "export", "constraint", "ntasks"):
        if option in case["options"]:
            found = ask(case)[option]
            assert (str(int(found)) if option == "ntasks" else found) == case["options"][option]


@pytest.mark.parametrize("name", sorted(REFUSED_BY_NAME.keys() & CASES.keys()))
def test_what_the_gateway_cannot_do_is_refused_by_name(name: str) -> None:
    """sbatch would accept it; we say what we do not do and why."""
    with pytest.raises((ScriptError, OptionError), match=REFUSED_BY_NAME[name]) as refusal:
        ask(CASES[name])
    assert refusal.value.hint or refusal.value.exit_code == 1


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "exit_code" in case])
def test_what_sbatch_refuses_is_refused_in_its_words(name: str) -> None:
    """Refused input ends with sbatch's text and exit code, and in a script with its line."""
    case = CASES[name]
    option = name.partition("=")[0]
    if name in NOT_OURS or option in SILENT or (option in LONG and LONG[option].support is slurm.Support.REFUSED):
        return
    with pytest.raises((ScriptError, OptionError)) as refusal:
        ask(case)
    assert refusal.value.exit_code == case["exit_code"]
    assert name in OTHER_WORDS or plain(refusal.value.detail) in plain(" ".join(case["says"]))


def plain(text: str) -> str:
    """Without sbatch's prefixes and line breaks."""
    for noise in ("error: ", "fatal: ", "job.sh: ", "line 2: ", 'Try "sbatch --help" for more information'):
        text = text.replace(noise, "")
    return " ".join(text.split())


def test_the_table_has_every_option_of_sbatch() -> None:
    """Long names, their kind of argument, short names and variables are those of the real sbatch."""
    real = recorded("sbatch_options")
    assert {name: option.argument.value for name, option in LONG.items()} == real["long"]
    assert {option.short for option in slurm.TABLE} - {""} == set(real["short"])
    ours = {name for option in slurm.TABLE for name in option.environment if name.startswith("SBATCH_")}
    assert ours | {"SBATCH_DEBUG", "SBATCH_WAIT4SWITCH", "SBATCH_POWER"} == set(real["environment"])
