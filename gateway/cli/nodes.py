"""burst nodes, offers.

Invariant: nothing is filtered; a node that fails is shown with its reason.
"""

from __future__ import annotations

import click

from gateway.cli.connection import connected
from gateway.cli.display import ago, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.money import in_credits
from gateway.wire import NodeView

NODE_COLUMNS = ("Node", "State", "Offer", "Address", ">Job", "Since", "Reason")


@click.command(epilog=examples("burst nodes", "burst nodes --json | jq -r '.[].name'"))
@json_option
def nodes(as_json: bool) -> None:
    """List the elastic nodes that exist or are being made."""
    with connected() as gateway:
        found = gateway.nodes()
    if as_json:
        show_json(found)
    elif found:
        show_table(NODE_COLUMNS, [node_row(node) for node in found])
    else:
        click.echo("No nodes: none is needed now.", err=True)


@click.command(epilog=examples("burst offers", "burst offers --json"))
@json_option
def offers(as_json: bool) -> None:
    """List the sizes of node that can be had, their prices, and how many are in use."""
    with connected() as gateway:
        found = gateway.offers()
    if as_json:
        show_json(found)
        return
    columns = ("Offer", "Cloud", ">Cores", ">Memory", ">GPUs", ">In use", ">At most", ">Price of a node hour")
    show_table(
        columns,
        [
            (
                offer.name,
                offer.provider,
                str(offer.cores),
                f"{offer.memory_mb} MiB",
                str(offer.gpus),
                str(offer.in_use),
                str(offer.max_nodes),
                in_credits(offer.price_ucr_per_hour),
            )
            for offer in found
        ],
    )


def node_row(node: NodeView) -> tuple[str, ...]:
    """One node, as NODE_COLUMNS has it."""
    job = "" if node.job is None else str(node.job)
    return (node.name, node.state, node.offer, node.address or "", job, ago(node.since), node.reason)
