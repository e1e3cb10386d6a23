"""burst devices: those that need no code, because burst login --remember kept a key on them."""

from __future__ import annotations

import json

import click

from gateway.cli.display import ago, moment, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.people import People
from gateway.client.session import Session
from gateway.errors import NotFound


@click.group(
    invoke_without_command=True,
    epilog=examples("burst devices", "burst devices --json", "burst devices revoke kWq3"),
)
@json_option
@click.pass_context
def devices(context: click.Context, as_json: bool) -> None:
    """List the devices that log you in without a code: burst login --remember makes one."""
    if context.invoked_subcommand is not None:
        return
    with Session.saved() as session:
        found = People(session).devices()
    if as_json:
        show_json(found)
    elif found:
        rows = [(one.id[:8], one.name, moment(one.created_at), ago(one.last_used_at) or "never") for one in found]
        show_table(("Id", "Device", "Since", "Last used"), rows)
    else:
        click.echo("No device is remembered. burst login --remember remembers this one.", err=True)


@devices.command(epilog=examples("burst devices revoke kWq3", "burst devices revoke kWq3 --json"))
@click.argument("device", metavar="ID")
@json_option
def revoke(device: str, as_json: bool) -> None:
    """The device whose ID begins so needs a code again, from now on."""
    with Session.saved() as session:
        mine = People(session)
        fits = [one.id for one in mine.devices() if one.id.startswith(device)]
        if len(fits) != 1:
            raise NotFound(f"{len(fits)} of your devices begin with {device}", hint="burst devices lists them")
        mine.revoke_device(fits[0])
    click.echo(json.dumps({"device": fits[0], "revoked": True}) if as_json else f"{fits[0][:8]} needs a code again.")
