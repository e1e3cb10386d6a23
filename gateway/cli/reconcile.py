"""burst reconcile: what the gateway makes of every node and machine.

Invariant: it changes nothing; the gateway acts by the same verdicts by itself, several times a second.
"""

from __future__ import annotations

import click

from gateway.cli.display import ago, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.node_admin import NodeAdmin
from gateway.client.session import Session
from gateway.wire import ReconciliationView

_UNREAD = 3
"""Exit code: something could not be read, so the answer is not whole."""


@click.command(
    epilog=examples(
        "burst reconcile --dry-run",
        "burst reconcile --dry-run --json | jq '.orphans'",
        "burst reconcile --dry-run || echo 'something could not be read'",
    )
)
@click.option("--dry-run", is_flag=True, help="Only look: all that it does; the gateway acts by itself.")
@json_option
@click.pass_context
def reconcile(context: click.Context, *, dry_run: bool, as_json: bool) -> None:  # noqa: ARG001 - as its help says
    """Compare the gateway's records with Slurm and with every cloud's listing (administrators only).

    One line a node: its state, Slurm's words, its cloud's, and what the gateway does next and why. Then machines that
    carry this cluster's tags and belong to nobody, and what machines left behind. Exit code 3: a source could not be
    read, and nothing is ended on its account.
    """
    with Session.saved() as session:
        found = NodeAdmin(session).outlook()
    if as_json:
        show_json(found)
    else:
        _show(found)
    context.exit(_UNREAD if found.unread else 0)


def _show(found: ReconciliationView) -> None:
    for source, why in found.unread.items():
        click.echo(f"{source} could not be read: {why}", err=True)
    if found.verdicts:
        columns = ("Node", "Record", "Slurm", "Cloud", "Next", "Why")
        rows = [(v.node, v.state, "+".join(v.slurm) or "?", v.cloud, v.act, v.text) for v in found.verdicts]
        show_table(columns, rows)
    if found.orphans:
        click.echo("\nMachines of no node, ended when they are seen twice:")
        orphans = [(o.id, f"{o.node}:{o.generation}", o.state, ago(o.created_at)) for o in found.orphans]
        show_table(("Machine", "Tagged", "State", "Made"), orphans)
    if found.leftovers:
        click.echo("\nLeft behind, removed when it is seen twice:")
        show_table(("What", "Kind", "Of node"), [(each.id, each.kind, each.node) for each in found.leftovers])
    if not (found.verdicts or found.orphans or found.leftovers):
        click.echo("No node, no machine, nothing left behind.", err=True)
