"""burst site install, remove, user, people, claim.

Invariant: nothing of the site changes without --apply, and what changes is shown whole.
"""

from __future__ import annotations

import getpass
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.bootstrapping import bootstrap
from gateway.cli.invocation import examples, json_option
from gateway.cli.lifecycle import directory_option

STOPPED, ROLLED_BACK = 1, 3
"""Exit codes: something stands in the way; slurmctld did not take the change, which was taken back."""

apply_option = click.option("--apply", is_flag=True, help="Change the files. Without it nothing is changed.")


@click.group(
    epilog=examples(
        "burst site install --dir /srv/burst --slurm-conf /etc/slurm/slurm.conf --check",
        "burst site install --dir /srv/burst --slurm-conf /etc/slurm/slurm.conf --apply",
        "burst site user alice --credits 20 --dir /srv/burst",
        "burst site people --dir /srv/burst",
        "burst site remove --dir /srv/burst --apply",
    )
)
def site() -> None:
    """Extend a Slurm cluster that is there already by a partition whose nodes are in the cloud.

    Each command has --help and --json.
    """


@site.command(
    epilog=examples(
        "burst site install --slurm-conf /etc/slurm/slurm.conf --check --dir /srv/burst",
        "burst site install --slurm-conf /etc/slurm/slurm.conf --diff --dir /srv/burst",
        "burst site install --slurm-conf /etc/slurm/slurm.conf --partition cloud --apply --dir /srv/burst",
        "burst site install --apply --dir /srv/burst    # bring it up to date",
    )
)
@directory_option
@click.option("--slurm-conf", type=click.Path(path_type=Path, dir_okay=False), help="The site's slurm.conf.")
@click.option("--munge-key", type=click.Path(path_type=Path, dir_okay=False), help="The site's key, for its new nodes.")
@click.option("--partition", help="Name of the new partition; default: cloud.")
@click.option("--cli-filter/--no-cli-filter", default=None, help="Also let sbatch say what a cloud job needs.")
@click.option("--check", "show", flag_value="check", help="Only say what was found.")
@click.option("--diff", "show", flag_value="diff", help="Only show the exact change.")
@apply_option
@json_option
def install(
    directory: Path,
    *,
    slurm_conf: Path | None,
    munge_key: Path | None,
    partition: str | None,
    cli_filter: bool | None,
    show: str | None,
    apply: bool,
    as_json: bool,
) -> None:
    """Write burst.conf and job_submit.lua beside the site's slurm.conf, and one Include line into it.

    Without --apply nothing is changed: what was found is said, one line each, and the change is shown. With it
    slurmctld reads its configuration again, and a change that it does not take is taken back. Without --slurm-conf the
    site that the directory serves already is brought up to date. Exit code 1: something stands in the way and nothing
    was changed; 3: the change was taken back.
    """
    if apply and show:
        raise click.UsageError("--apply changes what --check and --diff only show; give one of them.")
    more = _setting(slurm_conf, munge_key, partition, cli_filter)
    done = bootstrap("site-install", directory, [*more, *(["--apply"] if apply else [])], progress=_tell)
    if as_json:
        click.echo(json.dumps(done, indent=2))
    else:
        _report(done, show)
        _say_next(done, directory, apply=apply)
    if done["stops"]:
        sys.exit(STOPPED)
    if done["rolled_back"]:
        sys.exit(ROLLED_BACK)


@site.command(epilog=examples("burst site remove --dir /srv/burst", "burst site remove --dir /srv/burst --apply"))
@directory_option
@apply_option
@json_option
def remove(directory: Path, *, apply: bool, as_json: bool) -> None:
    """Take back what install wrote: the site's files then have the bytes of before.

    Without --apply it is only shown. Lines that somebody else changed meanwhile stay, and are told of. Jobs that run on
    cloud nodes are ended by Slurm, so drain the partition first.
    """
    done = bootstrap("site-remove", directory, ["--apply"] if apply else [], progress=_tell)
    if as_json:
        click.echo(json.dumps(done, indent=2))
        return
    click.echo(done["diff"] or "Nothing to take back.\n", nl=False)
    for note in done["notes"]:
        click.echo(f"note: {note}", err=True)
    if done["files"] and not apply:
        click.echo("Nothing was changed; --apply does it.", err=True)
    elif apply:
        click.echo(f"Changed: {', '.join(done['files']) or 'nothing'}.")


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


@site.group(
    invoke_without_command=True,
    epilog=examples(
        "burst site people --dir /srv/burst",
        "burst site people link asmith alice --dir /srv/burst",
        "burst site people unlink asmith --dir /srv/burst",
    ),
)
@directory_option
@json_option
@click.pass_context
def people(context: click.Context, directory: Path, as_json: bool) -> None:
    """Show which user of the gateway each of the site's users is, and by whose word."""
    if context.invoked_subcommand is None:
        _show_people(bootstrap("site-people", directory, [], progress=_tell), as_json=as_json)


@people.command(epilog=examples("burst site people link asmith alice --dir /srv/burst"))
@click.argument("unix_name")
@click.argument("name", metavar="USER")
@directory_option
@json_option
def link(unix_name: str, name: str, directory: Path, as_json: bool) -> None:
    """Say that the site's UNIX_NAME is the gateway's USER; from then on jobs of the one are paid by the other."""
    told = bootstrap("site-people", directory, ["--link", unix_name, name], progress=_tell)
    _show_people(told, as_json=as_json)


@people.command(epilog=examples("burst site people unlink asmith --dir /srv/burst"))
@click.argument("unix_name")
@directory_option
@json_option
def unlink(unix_name: str, directory: Path, as_json: bool) -> None:
    """Take back what link, or burst site claim, said of UNIX_NAME; its funded jobs go on."""
    _show_people(bootstrap("site-people", directory, ["--unlink", unix_name], progress=_tell), as_json=as_json)


@site.command(epilog=examples("burst site claim", "burst site claim --as asmith | sh", "burst site claim --json"))
@click.option("--as", "unix_name", metavar="UNIX_NAME", help="Your name at the site. [default: yours here]")
@json_option
def claim(unix_name: str | None, as_json: bool) -> None:
    """Say which of the site's users you are, so that your jobs there are paid from your account here.

    Prints a command; run it at the site within the hour, as that user. Its job never runs: it only tells the gateway
    that you are both.
    """
    from gateway.client.people import People  # noqa: PLC0415 - the other commands here need no client
    from gateway.client.session import Session  # noqa: PLC0415

    with Session.saved() as session:
        found = People(session).claim_unix_user(unix_name or getpass.getuser())
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    click.echo(shlex.join(found.command))
    click.echo(f"Run this at the site before {found.expires_at:%H:%M} UTC.", err=True)


def _show_people(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    for one in told["people"]:
        click.echo(f"{one['unix']:20} {one['user']:20} by {one['by']}")
    rest = "is the gateway's user of the same name" if told["same_names"] else "is nobody at the gateway"
    click.echo(f"Who is not {'in this list' if told['people'] else 'linked'} {rest}.", err=True)


def _report(done: dict[str, Any], show: str | None) -> None:
    if show != "diff" or done["stops"]:
        for finding in done["findings"]:
            click.echo(finding["line"], err=show == "diff")
    if show != "check" and not done["stops"]:
        click.echo(done["diff"] or "Nothing to change.\n", nl=False)


def _say_next(done: dict[str, Any], directory: Path, *, apply: bool) -> None:
    if done["stops"]:
        click.echo(f"Nothing was changed: {done['stops']} of these lines stand in the way.", err=True)
    elif done["rolled_back"]:
        click.echo(f"Nothing is changed: {done['rolled_back']}", err=True)
    elif not apply:
        click.echo("Nothing was changed; --apply does it.", err=True)
    else:
        click.echo(f"Changed: {', '.join(done['files']) or 'nothing'}; slurmctld has it.")
        click.echo(f"\nNext:\n  burst up --dir {directory}\n  burst site user NAME --credits 10 --dir {directory}")


def _setting(
    slurm_conf: Path | None, munge_key: Path | None, partition: str | None, cli_filter: bool | None
) -> list[str]:
    """What is said here of the settings' table ``site``, as --set has it."""
    said = {
        "slurm_conf": slurm_conf and str(slurm_conf.absolute()),
        "munge_key": munge_key and str(munge_key.absolute()),
        "partition": partition,
        "cli_filter": cli_filter,
    }
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in said.items() if value is not None)
    return ["--set", f"site={{{table}}}"] if table else []


def _tell(text: str) -> None:
    click.echo(text, err=True)
