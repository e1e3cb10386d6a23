"""burst hosts, hosts check.

Invariant: it exits with 0 only if every host is what the settings say, as far as could be seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.bootstrapping import bootstrap
from gateway.cli.display import show_table
from gateway.cli.invocation import examples, json_option
from gateway.cli.lifecycle import directory_option

HOST_COLUMNS = ("Host", "Cloud", "Size", "Address", "Power", "Node", "Health")
_MARKS = {True: "ok", False: "FAILED", None: "-"}


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "burst hosts --dir /srv/burst",
        "burst hosts --json | jq -r '.hosts[] | select(.health != \"ok\") | .host'",
        "burst hosts check --dir /srv/burst",
    ),
)
@directory_option
@json_option
@click.pass_context
def hosts(context: click.Context, directory: Path, as_json: bool) -> None:
    """Show the hosts that are already there: power, the node that each is now, and health.

    They are those of the clouds of kind "hosts" in the gateway's settings on this machine; it may run or not.
    """
    if context.invoked_subcommand is not None:
        return
    found = bootstrap("hosts-list", directory, progress=_tell)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    names = ("host", "cloud", "size", "address", "power", "lease", "health")
    show_table(HOST_COLUMNS, [tuple(str(each[name]) for name in names) for each in found["hosts"]])


@hosts.command(
    epilog=examples(
        "burst hosts check --dir /srv/burst",
        "burst hosts check node-a node-b",
        "burst hosts check --json | jq '.checks[] | select(.ok == false)'",
    )
)
@click.argument("names", nargs=-1, metavar="[HOST]...")
@directory_option
@json_option
@click.pass_context
def check(context: click.Context, names: tuple[str, ...], directory: Path, as_json: bool) -> None:
    """Hold the settings against the hosts: power, SSH, sudo, inventory; a line for each.

    Nothing is switched on or off: of a host that is off, only its power is looked at. A host that was set aside because
    it had less than its size promises is used again once this finds it whole. Exits with 1 if a check fails.
    """
    more = [word for name in names for word in ("--host", name)]
    found = bootstrap("hosts-check", directory, more, progress=_tell)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for each in found["checks"]:
            click.echo(_line(each))
    context.exit(1 if any(each["ok"] is False for each in found["checks"]) else 0)


def _line(finding: dict[str, Any]) -> str:
    name = finding["host"] or finding["cloud"]
    return f"{_MARKS[finding['ok']]:<7} {name:<16} {finding['check']:<10} {finding['text']}"


def _tell(text: str) -> None:
    click.echo(text, err=True)
