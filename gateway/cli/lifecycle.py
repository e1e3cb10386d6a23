"""burst up, down, check.

Invariant: they only start gateway.bootstrap; what exists is decided there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.bootstrapping import arguments, bootstrap
from gateway.cli.display import duration, show_facts
from gateway.cli.invocation import examples, json_option

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".burst/gateway"),
    show_default=True,
    help="Holds all of its state; nothing is written elsewhere.",
)


@click.command(
    epilog=examples(
        "burst up --dir /srv/burst", "burst up --set nodes=process --set idle_s=60", "burst up --json | jq -r .url"
    )
)
@directory_option
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="A setting, as in DIR/burst.toml; repeatable."
)
@click.option("--foreground", is_flag=True, help="Stay in the foreground, as a service manager wants it.")
@json_option
def up(directory: Path, settings: Sequence[str], foreground: bool, as_json: bool) -> None:
    """Start a gateway, its Slurm, its object store and its local cloud in one directory.

    What runs already is kept, so this also repairs a gateway of which something has died.
    """
    more = [word for setting in settings for word in ("--set", setting)]
    if foreground:
        os.execv(sys.executable, arguments("up", directory, [*more, "--foreground"]))  # noqa: S606 - no shell is wanted
    facts = bootstrap("up", directory, more, progress=_tell)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _show_up(facts)


@click.command(epilog=examples("burst down --dir /srv/burst"))
@directory_option
@json_option
def down(directory: Path, as_json: bool) -> None:
    """Stop a gateway and all that it started; no process and no node is left, the directory's records are kept."""
    facts = bootstrap("down", directory, progress=_tell)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(f"Stopped: {', '.join(map(str, facts.get('stopped', []))) or 'nothing was running'}.")


@click.command(epilog=examples("burst check", "burst check --dir /srv/burst --json"))
@directory_option
@json_option
@click.pass_context
def check(context: click.Context, directory: Path, as_json: bool) -> None:
    """Say what this machine, or the gateway in the directory, lacks; exit 1 if it lacks something."""
    facts = bootstrap("check", directory, progress=_tell)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        for one in facts["checks"]:
            click.echo(_check_line(one))
    lacking = [str(one["name"]) for one in facts["checks"] if not one["ok"]]
    if lacking:
        click.echo(f"burst: error: not in order: {', '.join(lacking)}; do what the hints say", err=True)
        context.exit(1)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _show_up(facts: dict[str, Any]) -> None:
    slurm, nodes, users = facts["slurm"], facts["nodes"], facts["users"]
    show_facts(
        [
            ("Gateway", facts["url"]),
            ("Directory", facts["directory"]),
            ("Slurm", f"{slurm['version']} ({slurm['origin']}), {slurm['conf']}"),
            ("Nodes", f"{nodes['form']}: {nodes['reason']}"),
            ("Store", f"{facts['store']['url']} ({facts['store_kind']})"),
            ("Started in", duration(float(facts["started_s"]))),
        ]
    )
    click.echo("\nNext:")
    for user, file in users.items():
        click.echo(f"  burst login {facts['url']} --user {user} --password-file {file}")
    click.echo("  burst submit job.sh")


def _check_line(one: dict[str, Any]) -> str:
    mark = "ok  " if one["ok"] else "LACK"
    hint = f"; {one['hint']}" if one.get("hint") and not one["ok"] else ""
    return f"{mark}  {one['name']}: {one['detail']}{hint}"
