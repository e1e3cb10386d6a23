"""burst nodes and its subcommands.

Invariant: nothing is filtered; a node that fails is shown with its reason.
"""

from __future__ import annotations

import json

import click

from gateway.cli.connection import connected
from gateway.cli.display import show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.cli.node_admin import NODE_COLUMNS, console, create, destroy, drain, node_row, resume, show


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "burst nodes", "burst nodes --json | jq -r '.[].name'", "burst nodes show small-1", "burst nodes ssh small-1"
    ),
)
@json_option
@click.pass_context
def nodes(context: click.Context, as_json: bool) -> None:
    """List the elastic nodes that exist or are being made: since when, why, at what cost, and until when leased."""
    if context.invoked_subcommand is not None:
        return
    with connected() as gateway:
        found = gateway.nodes()
    if as_json:
        show_json(found)
    elif found:
        show_table(NODE_COLUMNS, [node_row(node) for node in found])
    else:
        click.echo("No nodes: none is needed now.", err=True)


@nodes.command(
    epilog=examples(
        "burst nodes ssh small-1",
        "burst nodes ssh small-1 -- tail -n 20 /var/log/cloud-init.log",
        "burst nodes ssh small-1 --json | jq -r '.host_keys[]'",
    )
)
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Do not log in; print where the node answers, and its host keys.")
@click.pass_context
def ssh(context: click.Context, name: str, command: tuple[str, ...], *, as_json: bool) -> None:
    """Log in to a node: administrators to any, others while a job of theirs runs there.

    A key is made for this login and certified for some minutes; the node must show the host key that it reported when
    it joined. COMMAND reaches the node's shell as ssh would send it, and its exit code is this command's.
    """
    # It loads cryptography, which listing nodes does not need.
    from gateway.client.node_shell import node_shell  # noqa: PLC0415

    with node_shell() as shell:
        with connected() as gateway:
            login = gateway.node_login(name, shell.make_key())
        if as_json:
            click.echo(json.dumps(login.model_dump(mode="json", exclude={"certificate"}), indent=2))
            return
        code = shell.run(login, command)
    context.exit(code)


for command in (show, create, drain, resume, destroy, console):
    nodes.add_command(command)
