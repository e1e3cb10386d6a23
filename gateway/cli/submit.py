"""burst submit, quote: sbatch's command line, with the gateway's few options beside it.

Invariant: sbatch's options reach the gateway as typed; stdout has what sbatch prints there and nothing else.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from gateway.cli.command_line import CommandLine, split
from gateway.cli.connection import connected
from gateway.cli.display import show_json
from gateway.cli.invocation import examples
from gateway.cli.jobs import follow
from gateway.cli.money import show_quote
from gateway.cli.timeline import name_of
from gateway.client.gateway import Gateway, Submission, read_script
from gateway.client.money import from_credits, in_credits
from gateway.errors import BurstError, InputMissing, ScriptError
from gateway.intake import directives
from gateway.intake.script import decode
from gateway.slurm.options import from_environment, merge, parse
from gateway.wire import JobView

WRAPPED = "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{}\n"
"""The script of --wrap, as sbatch 24.11 writes it."""


class SbatchLike(click.Command):
    """A command whose words are split as sbatch splits them; click only writes its help page."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split the words; --help before the script shows the help page, as anywhere else."""
        if ctx.resilient_parsing:
            return []
        typed = split(args)
        if typed.has("help", "usage"):
            click.echo(ctx.get_help())
            ctx.exit()
        ctx.params = {"typed": typed}
        return []

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the gateway's own options, and files."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(incomplete, type="file")]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """The order that sbatch wants."""
        return ["[OPTIONS]", "[SBATCH OPTIONS]", "[SCRIPT [ARGUMENTS]]"]


_OWN = (
    click.Option(["--stage-in"], metavar="FILE[:DESTINATION]", help="An input besides the script's own; repeatable."),
    click.Option(["--json"], is_flag=True, help="Print JSON."),
)
"""The gateway's own options, for the help page; ``SbatchLike`` reads them itself."""


@click.command(
    cls=SbatchLike,
    params=[
        click.Option(["--max-cost"], metavar="CREDITS", help="Refuse the job if it can cost more."),
        click.Option(["--dry-run"], is_flag=True, help="Say what it can cost; create nothing (as --test-only)."),
        click.Option(["-W", "--wait"], is_flag=True, help="Follow the job; end with its exit code."),
        click.Option(["--parsable"], is_flag=True, help="Print the job id only."),
        click.Option(["-Q", "--quiet"], is_flag=True, help="Print neither the job id nor the price."),
        *_OWN,
    ],
    epilog=examples(
        "burst submit job.sh",
        "burst submit -N2 --time=10 job.sh input.csv",
        "burst submit --wait --max-cost 0.5 job.sh",
        "burst submit --wrap 'hostname; sleep 5'",
    ),
)
def submit(typed: CommandLine) -> int:
    """Submit a batch script, as sbatch does.

    All options of sbatch are taken, before the script; what follows the script belongs to it. Without a script it is
    read from stdin. `#BURST --stage-in=FILE` lines of the script name files that the job reads.
    """
    job = _submission(typed)
    with connected() as gateway:
        try:
            if typed.has("dry-run", "test-only"):
                return _dry_run(gateway, job, typed)
            view = gateway.submit(job)
        except (ScriptError, InputMissing) as error:
            raise _located(error, job.name) from None
        _announce(view, typed)
        if typed.has("wait"):
            view = follow(gateway, view)
    if typed.has("json"):
        show_json(view)
    return ending(view) if typed.has("wait") else 0


@click.command(
    cls=SbatchLike,
    params=[*_OWN],
    epilog=examples("burst quote job.sh", "burst quote -N4 --time=2:00:00 job.sh --json"),
)
def quote(typed: CommandLine) -> None:
    """Say what a job can cost at most, which offers are considered for it and why one is chosen.

    Nothing is created, nothing is uploaded. What the job can cost at most is what submitting it would hold.

    Takes what `burst submit` takes.
    """
    job = _submission(typed)
    with connected() as gateway:
        try:
            found = gateway.quote(job)
        except (ScriptError, InputMissing) as error:
            raise _located(error, job.name) from None
    if typed.has("json"):
        show_json(found)
    else:
        show_quote(found)


def find_script(name: str, path: str) -> Path:
    """Where sbatch finds a script: as named if it has a slash or starts with a dot, else here, else on ``path``."""
    if "/" not in name and not name.startswith(".") and not Path(name).exists():
        found = shutil.which(name, mode=os.R_OK, path=path)
        return Path(found or name)
    return Path(name)


def job_environment(options: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment travels: SBATCH_* variables, and those that --export names.

    "ALL" means all on a cluster that shares the user's machine; here it names nothing, as the nodes are elsewhere.
    """
    chosen = {name: value for name, value in variables.items() if name.startswith("SBATCH_")}
    # NAME=VALUE travels in the option itself.
    chosen.update({name: variables[name] for name in options.get("export", "").split(",") if name in variables})
    return chosen


def _submission(typed: CommandLine) -> Submission:
    name, script = _script(typed)
    options = _options(typed, name, script)
    return Submission(
        script=script,
        name=name,
        options=typed.options,
        arguments=typed.arguments,
        environment=job_environment(options, os.environ),
        stage_in=typed.own.get("--stage-in", ()),
        max_cost_ucr=from_credits(typed.own["--max-cost"][-1]) if "--max-cost" in typed.own else None,
    )


def _options(typed: CommandLine, name: str, script: str) -> Mapping[str, str]:
    """All of sbatch's options together; what sbatch would refuse is refused here, before anything is sent."""
    command, variables = parse(typed.options).options, from_environment(os.environ)
    try:
        found = directives.read(script, ignore_pbs="ignore-pbs" in {**variables, **command})
    except ScriptError as error:
        raise _located(error, name) from None
    for warning in found.warnings:
        click.echo(f"burst: warning: {name}: {warning}", err=True)
    return merge(found.options, variables, command)


def _script(typed: CommandLine) -> tuple[str, str]:
    """The script's name, as sbatch names the job after it, and its text."""
    if "wrap" in typed.sbatch:
        if typed.script is not None:
            raise ScriptError("Script arguments not permitted with --wrap option", hint="quote the whole command")
        return "wrap", WRAPPED.format(typed.sbatch["wrap"])
    if typed.script is None:
        return "sbatch", decode(sys.stdin.buffer.read())
    path = find_script(typed.script, os.environ.get("PATH", ""))
    try:
        return path.name, read_script(path)
    except ScriptError as error:
        raise _located(error, str(path)) from None


def _dry_run(gateway: Gateway, job: Submission, typed: CommandLine) -> int:
    found = gateway.quote(job)
    if typed.has("json"):
        show_json(found)
    click.echo(f"burst: {job.name} can cost at most {in_credits(found.total_ucr)} on {found.offer}", err=True)
    return 0


def _announce(view: JobView, typed: CommandLine) -> None:
    if typed.has("quiet"):
        return
    if not typed.has("json"):
        click.echo(name_of(view) if typed.has("parsable") else f"Submitted batch job {name_of(view)}")
    click.echo(f"burst: holds {in_credits(view.hold_ucr)} of account {view.account}, offer {view.offer}", err=True)


def ending(view: JobView) -> int:
    """As sbatch --wait: the job's own code; 1 for a job that a signal, a limit or a user ended."""
    if view.exit_code is None or (view.exit_code == 0 and view.state != "COMPLETED"):
        return 1
    return view.exit_code


def _located(error: ScriptError | InputMissing, name: str) -> BurstError:
    """The error with the script's own name in place of "script"."""
    if error.field:
        error.field = error.field.replace("script:", f"{name}:", 1)
    return error
