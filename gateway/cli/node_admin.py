"""burst nodes show, create, drain, resume, destroy, console: what administrators do with nodes.

Invariant: a command that changes a node prints it as the gateway knows it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from gateway.cli.connection import connected
from gateway.cli.display import ago, moment, show_facts, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.money import in_credits
from gateway.client.node_admin import NodeAdmin
from gateway.client.session import Session
from gateway.wire import NodeView

NODE_COLUMNS = ("Node", "State", "Offer", "Address", ">Job", "Since", ">Cost", "Lease", "Reason")


@click.command(epilog=examples("burst nodes show small-1", "burst nodes show small-1 --json | jq .timeline"))
@click.argument("name", metavar="NODE")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show one node, and what happened to its present or last machine, oldest first."""
    with connected() as gateway:
        node = gateway.node(name)
    if as_json:
        show_json(node)
        return
    show_facts(_facts(node))
    for event in node.timeline:
        click.echo(f"{moment(event.at)}  {event.kind:<18} {event.text}")


@click.command(
    epilog=examples("burst nodes create small", "burst nodes create small --count 3", "burst nodes create gpu-2")
)
@click.argument("name", metavar="SIZE|NODE")
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many of a SIZE.")
@json_option
def create(name: str, *, count: int, as_json: bool) -> None:
    """Boot nodes before a job needs them: one NODE, or some of a SIZE.

    Slurm powers them up and, as every idle node, down again after its SuspendTime.
    """
    with Session.saved() as session:
        _show(NodeAdmin(session).create(name, count), as_json=as_json)


@click.command(epilog=examples("burst nodes drain small-1 --reason 'broken fan'"))
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why; Slurm shows it.")
@json_option
def drain(names: tuple[str, ...], *, reason: str, as_json: bool) -> None:
    """Let no more jobs start on NODE. What runs there ends by itself; the drain stays until burst nodes resume."""
    with Session.saved() as session:
        _show([NodeAdmin(session).drain(name, reason) for name in names], as_json=as_json)


@click.command(epilog=examples("burst nodes resume small-1"))
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@json_option
def resume(names: tuple[str, ...], *, as_json: bool) -> None:
    """Take a drain of NODE back: jobs start there again."""
    with Session.saved() as session:
        _show([NodeAdmin(session).resume(name) for name in names], as_json=as_json)


@click.command(epilog=examples("burst nodes destroy small-1", "burst nodes destroy small-1 --now"))
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@click.option("--now", is_flag=True, help="Do not wait for jobs: Slurm requeues them.")
@json_option
def destroy(names: tuple[str, ...], *, now: bool, as_json: bool) -> None:
    """End the machine of NODE: once its jobs have ended, or at once, even while Slurm is away."""
    with Session.saved() as session:
        _show([NodeAdmin(session).destroy(name, now=now) for name in names], as_json=as_json)


@click.command(epilog=examples("burst nodes console small-1", "burst nodes console small-1 | tail -n 20"))
@click.argument("name", metavar="NODE")
@json_option
def console(name: str, *, as_json: bool) -> None:
    """Print the end of a machine's console: why a boot failed. Some clouds have none, or have it late."""
    with Session.saved() as session:
        found = NodeAdmin(session).console(name)
    if as_json:
        show_json(found)
    elif found.text:
        click.echo(found.text.rstrip("\n"))
    else:
        click.echo(f"The console of {name} is empty, or its cloud shows none.", err=True)


def node_row(node: NodeView) -> tuple[str, ...]:
    """One node, as NODE_COLUMNS has it."""
    job = "" if node.job is None else str(node.job)
    cost = in_credits(node.cost_ucr) if node.ordered_at else ""
    lease = ago(node.lease_until)
    return (node.name, node.state, node.offer, node.address or "", job, ago(node.since), cost, lease, node.reason)


def _show(found: Sequence[NodeView], *, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        show_table(NODE_COLUMNS, [node_row(node) for node in found])


def _facts(node: NodeView) -> list[tuple[str, str]]:
    lived = "" if node.ordered_at is None else f"ordered {ago(node.ordered_at)}"
    return [
        ("Node", f"{node.name}, generation {node.generation}"),
        ("State", f"{node.state}, {ago(node.since)}"),
        ("Reason", node.reason),
        ("Size", node.offer),
        ("From", node.supply or ""),
        ("Machine", ", ".join(filter(None, (node.machine, node.address, lived)))),
        ("Cost so far", in_credits(node.cost_ucr) if node.ordered_at else ""),
        ("Job", "" if node.job is None else str(node.job)),
        ("Lease", ago(node.lease_until)),
    ]
