"""burst site install, uninstall, user.

Invariant: nothing of the site changes before its administrator has seen the whole difference and agreed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.bootstrapping import bootstrap
from gateway.cli.invocation import examples, json_option
from gateway.cli.lifecycle import directory_option

dry_run_option = click.option("--dry-run", is_flag=True, help="Show the difference and change nothing.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(
    epilog=examples(
        "burst site install --dir /srv/burst --slurm-conf /etc/slurm/slurm.conf",
        "burst site user alice --credits 20 --dir /srv/burst",
        "burst site uninstall --dir /srv/burst",
    )
)
def site() -> None:
    """Extend a Slurm cluster that is there already by a partition whose nodes are in the cloud.

    Each command has --help and --json.
    """


@site.command(
    epilog=examples(
        "burst site install --slurm-conf /etc/slurm/slurm.conf --dry-run --dir /srv/burst",
        "burst site install --slurm-conf /etc/slurm/slurm.conf --partition cloud --dir /srv/burst --yes",
    )
)
@directory_option
@click.option("--slurm-conf", type=click.Path(path_type=Path, dir_okay=False), help="The site's slurm.conf.")
@click.option("--munge-key", type=click.Path(path_type=Path, dir_okay=False), help="The site's key, for its new nodes.")
@click.option("--partition", help="Name of the new partition; default: cloud.")
@dry_run_option
@yes_option
@json_option
def install(
    directory: Path,
    *,
    slurm_conf: Path | None,
    munge_key: Path | None,
    partition: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write burst.conf and job_submit.lua beside the site's slurm.conf, and one Include line into it.

    What would be in the way of the site's own settings is refused, with its line. Without --slurm-conf the site that
    the directory serves already is brought up to date.
    """
    more = _setting(slurm_conf, munge_key, partition)
    _change("site-install", directory, more, dry_run=dry_run, yes=yes, as_json=as_json)
    if not dry_run and not as_json:
        click.echo("\nNext, as the site's administrator:")
        click.echo(f"  burst up --dir {directory}")
        click.echo("  scontrol reconfigure")
        click.echo(f"  burst site user NAME --credits 10 --dir {directory}")


@site.command(epilog=examples("burst site uninstall --dir /srv/burst --dry-run", "burst site uninstall --yes"))
@directory_option
@dry_run_option
@yes_option
@json_option
def uninstall(directory: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Take back what install wrote: the site's files then have the bytes of before.

    Jobs that run on cloud nodes are ended by Slurm when it is reconfigured.
    """
    _change("site-uninstall", directory, [], dry_run=dry_run, yes=yes, as_json=as_json)
    if not dry_run and not as_json:
        click.echo("\nNext, as the site's administrator:\n  scontrol reconfigure")


@site.command(epilog=examples("burst site user alice --credits 20 --dir /srv/burst"))
@click.argument("name")
@click.option("--credits", "credits_given", type=click.FloatRange(min=0), default=0.0, help="To begin with.")
@directory_option
@json_option
def user(name: str, credits_given: float, directory: Path, as_json: bool) -> None:
    """Open an account for the site's user NAME, whose jobs in the cloud partition are then paid from it."""
    more = ["--name", name, "--credits", str(credits_given)]
    facts = bootstrap("site-user", directory, more, progress=_tell)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    elif facts["new"]:
        click.echo(f"{name} has an account; the first password is in {facts['password_file']}.")
    else:
        click.echo(f"{name} has an account already; burst credit {name} AMOUNT --memo TEXT gives credits.")


def _change(verb: str, directory: Path, more: list[str], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Show what changes; then, if that is wanted, change it."""
    if dry_run or not yes:
        plan = bootstrap(verb, directory, [*more, "--dry-run"], progress=_tell)
        _show(plan, to_stderr=as_json)
        if not dry_run and plan["files"]:
            click.confirm("Make these changes?", abort=True, err=True)
    if not dry_run:
        # Also when no file changes: the gateway's own part may still be missing.
        plan = bootstrap(verb, directory, more, progress=_tell)
        if yes:
            _show(plan, to_stderr=as_json)
    if as_json:
        click.echo(json.dumps(plan, indent=2))
    elif not dry_run:
        click.echo(f"Changed: {', '.join(plan['files']) or 'nothing'}.")


def _show(plan: dict[str, Any], *, to_stderr: bool) -> None:
    click.echo(plan["diff"] or "Nothing to change.\n", nl=False, err=to_stderr)
    for note in plan["notes"]:
        click.echo(f"note: {note}", err=True)


def _setting(slurm_conf: Path | None, munge_key: Path | None, partition: str | None) -> list[str]:
    """The settings' table ``site`` as --set has it."""
    if slurm_conf is None:
        if munge_key or partition:
            raise click.UsageError("--munge-key and --partition need --slurm-conf.")
        return []
    said = {
        "slurm_conf": slurm_conf.absolute(),
        "munge_key": munge_key and munge_key.absolute(),
        "partition": partition,
    }
    table = ", ".join(f"{name} = {json.dumps(str(value))}" for name, value in said.items() if value)
    return ["--set", f"site={{{table}}}"]


def _tell(text: str) -> None:
    click.echo(text, err=True)
