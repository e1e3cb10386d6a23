"""The ``burst`` command: its subcommands by name, each loaded when it is called.

Invariant: an error is one line on stderr that says what went wrong and what to do next, and a non-zero exit code.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from gateway.cli.failure import explain, misfit
from gateway.cli.slurm_commands import program
from gateway.errors import BurstError

SECTIONS: dict[str, dict[str, str]] = {
    "A gateway on this machine": {
        "up": "lifecycle: Start a gateway, its Slurm, store and local cloud in one directory.",
        "down": "lifecycle: Stop all of it; no process and no node is left.",
        "check": "lifecycle: Say what this machine or a running gateway lacks.",
        "hosts": "hosts: Show and check the hosts that are already there.",
        "demo": "demo: Take one job through the whole gateway and check its result.",
    },
    "Login": {
        "login": "login: Log in; the session's key is made here and stays here.",
        "logout": "login: End the session and forget its key.",
        "whoami": "login: Say where and as whom you are logged in.",
        "visit": "peers: Log in at another gateway that trusts yours.",
        "peers": "peers: List the gateways that this one trusts; trust another one.",
        "sessions": "sessions: List your logins; end them.",
        "principals": "principals: Programs that log in by a key of their own.",
        "register": "register: Become a user, with an administrator's invitation.",
        "password": "register: Change your password.",
        "totp": "totp: An authenticator app as second factor: enrol, remove, recover.",
        "devices": "devices: List and revoke devices that need no code.",
    },
    "People": {
        "groups": "groups: Groups and projects, and who is in them.",
        "users": "users: Invite, disable and reset users (admins only).",
    },
    "Jobs": {
        "submit": "submit: Submit a batch script, as sbatch does.",
        "quote": "submit: Say what a job can cost at most; nothing is created.",
        "jobs": "jobs: List your jobs, newest first.",
        "job": "jobs: Show a job's timeline: each stage, when, and why it waits.",
        "logs": "jobs: Print what a job wrote.",
        "cancel": "jobs: End jobs; what they made so far is kept.",
        "fetch": "fetch: Download a job's files and verify each checksum.",
        "call": "call: Run a simulation as a function: parameters in, its result out.",
        "receipt": "money: Print what a job used and paid.",
        "verify": "verify: Prove from a receipt who ordered what, when and at what price.",
        "publish": "publish: Give a job's files a DOI and a public page.",
        "share": "share: Let others read a job's files, a publication's, or give a link.",
        "unshare": "unshare: Take that back.",
    },
    "Money and machines": {
        "balance": "money: Show your accounts.",
        "units": "units: List the simulation units that a job can be paid in.",
        "budget": "budget: Show, set or remove what accounts may spend.",
        "report": "report: Say what was spent, by month, account or user.",
        "credit": "money: Give credits to an account (admins only).",
        "nodes": "nodes: List the elastic nodes; boot, drain, end, look into or log in to one.",
        "reconcile": "reconcile: Compare records, Slurm and clouds; say what happens next.",
        "audit": "audit: Say who did what, under which authorisation, at what price.",
        "offers": "offers: List what can be had, for how much, and what is shut; update prices.",
    },
    "Keys of a gateway on this machine": {
        "keys": "keys: List the keys that sign and seal; replace them by new ones.",
    },
    "A Slurm cluster that is there": {
        "site": "site: Extend its slurm.conf by a cloud partition, and take that back.",
    },
    "Shell": {
        "commands": "commands: Write sbatch, squeue, scancel, sacct, sinfo and scontrol into a folder.",
        "completion": "completion: Print the completion script of a shell.",
    },
}
"""Section → command → "module: summary"; the module below ``gateway.cli`` holds a click command of that name."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without loading them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Every command's name, in the order of the help page."""
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load one command; None when there is none of that name."""
        for commands in SECTIONS.values():
            if cmd_name in commands:
                module = importlib.import_module(f"gateway.cli.{commands[cmd_name].partition(':')[0]}")
                command: click.Command = getattr(module, cmd_name)
                return command
        return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without loading any; options as click does."""
        names = [
            CompletionItem(name, help=about.partition(": ")[2])
            for commands in SECTIONS.values()
            for name, about in commands.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by section."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, about.partition(": ")[2]) for name, about in commands.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command has --help with examples, and --json.",
)
@click.version_option(package_name="burst-gateway", prog_name="burst")
def burst() -> None:
    """Run unchanged Slurm batch scripts on nodes that exist only while they are needed."""


def main() -> NoReturn:
    """Run ``burst`` and exit; called under a Slurm command's name, be that command."""
    if (name := os.path.basename(sys.argv[0])) in program.NAMES:  # noqa: PTH119
        sys.exit(program.run(name, sys.argv[1:]))
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run ``burst ARGUMENTS``; return its exit code after saying on stderr what failed."""
    try:
        result = burst.main(args=arguments or ["--help"], prog_name="burst", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (BurstError, click.ClickException, click.Abort, KeyboardInterrupt, OSError, ValueError) as error:
        told = misfit(error) if isinstance(error, ValueError) else error
        if told is None:
            raise
        sentence, code = explain(told)
        click.echo(f"burst: error: {sentence}", err=True)
        return code
    return result if isinstance(result, int) else 0
