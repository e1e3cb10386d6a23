"""sbatch: as ``burst submit``, in sbatch's own words, and in place where nodes see the caller's files.

Invariant: stdout has sbatch's one line and nothing else; a job runs in place only where this process has read the
gateway's witness, so it is on the machine and the user that the job will be.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway import wire
from gateway.cli.command_line import CommandLine, split
from gateway.cli.failure import exit_code
from gateway.cli.slurm_commands.failure import Failure
from gateway.cli.submit import WRAPPED, ending, find_script, job_environment
from gateway.client.gateway import Gateway, Submission, read_script
from gateway.client.money import in_credits
from gateway.client.session import Session
from gateway.errors import BurstError, InputMissing, SchedulerRefused, ScriptError
from gateway.intake import directives
from gateway.intake.script import decode
from gateway.slurm.getopt import TRY_HELP, MisuseError
from gateway.slurm.options import from_environment, merge, parse

_SLURMCTLDS = frozenset(
    {
        "Invalid job array specification",
        "Node count specification invalid",
        "Requested time limit is invalid (missing or exceeds some limit)",
    }
)
"""What the gateway refuses in slurmctld's words before slurmctld is asked."""

_USAGE = """Usage: sbatch [OPTIONS...] executable [args...]
sbatch's options are taken as they are; docs/slurm-commands.md says what differs. #BURST lines: burst submit --help
"""


def run(words: Sequence[str]) -> int:
    """Submit; print the job's id. Raises Failure in sbatch's words."""
    try:
        return _run(words)
    except BurstError as error:
        raise Failure(_sentence(error), exit_code(error)) from None


def _run(words: Sequence[str]) -> int:
    typed = split(words)
    if typed.own:
        name = next(iter(typed.own))
        raise Failure(f"sbatch: unrecognized option '{name}'\n{TRY_HELP}", 255)
    if typed.has("help", "usage"):
        sys.stdout.write(_USAGE)
        return 0
    with Gateway(Session.saved()) as gateway:
        job = _submission(typed, gateway)
        if typed.has("test-only"):
            found = gateway.quote(job)
            sys.stderr.write(f"sbatch: Job can cost at most {in_credits(found.total_ucr)} on {found.offer}\n")
            return 0
        view = gateway.submit(job)
        if not typed.has("quiet"):
            sys.stdout.write(f"{view.id}\n" if typed.has("parsable") else f"Submitted batch job {view.id}\n")
            sys.stdout.flush()
        return ending(gateway.wait(view.burst_id)) if typed.has("wait") else 0


def _submission(typed: CommandLine, gateway: Gateway) -> Submission:
    name, script = _script(typed)
    options = _options(typed, script)
    in_place = shares_files(gateway.session.get("/shared-files", wire.SharedFiles))
    return Submission(
        script=script,
        name=name,
        options=typed.options,
        arguments=typed.arguments,
        environment=whole_environment() if in_place else job_environment(options, os.environ),
        in_place=in_place,
    )


def shares_files(told: wire.SharedFiles) -> bool:
    """Whether this process sees the files that nodes see, with the rights that jobs have."""
    if not told.shared:
        return False
    witness = Path(told.witness)
    try:
        same_user = witness.stat().st_uid == os.getuid()
        return same_user and hashlib.sha256(witness.read_bytes()).hexdigest() == told.sha256
    except OSError:
        return False


def whole_environment() -> dict[str, str]:
    """All that sbatch exports, where it can be written as text."""
    found = {name: value for name, value in os.environ.items() if f"{name}{value}".isprintable() or _is_text(value)}
    return {**found, "SLURM_SUBMIT_DIR": str(Path.cwd()), "SLURM_SUBMIT_HOST": socket.gethostname()}


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _script(typed: CommandLine) -> tuple[str, str]:
    if "wrap" in typed.sbatch:
        if typed.script is not None:
            raise ScriptError("Script arguments not permitted with --wrap option")
        return "wrap", WRAPPED.format(typed.sbatch["wrap"])
    if typed.script is None:
        return "sbatch", decode(sys.stdin.buffer.read())
    path = find_script(typed.script, os.environ.get("PATH", ""))
    return path.name, read_script(path)


def _options(typed: CommandLine, script: str) -> Mapping[str, str]:
    """What sbatch would refuse is refused before anything is sent."""
    command, variables = parse(typed.options).options, from_environment(os.environ)
    found = directives.read(script, ignore_pbs="ignore-pbs" in {**variables, **command})
    for warning in found.warnings:
        sys.stderr.write(f"sbatch: error: {warning}\n")
    return merge(found.options, variables, command)


def _sentence(error: BurstError) -> str:
    if error.hint == TRY_HELP or isinstance(error, MisuseError):
        return f"sbatch: {error.detail}\n{TRY_HELP}"
    if isinstance(error, SchedulerRefused) or error.detail in _SLURMCTLDS:
        return f"sbatch: error: Batch job submission failed: {error.detail}"
    if isinstance(error, ScriptError | InputMissing):
        return f"sbatch: error: {error.detail}"
    hint = f"; {error.hint}" if error.hint and error.code != "invalid_option" else ""
    return f"sbatch: error: {error.detail.rstrip('.')}{hint}"
