"""burst offers, offers update; what `burst quote` shows of the offers that were considered.

Invariant: every offer is shown, those that are shut with the reason; a price is shown with its date.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from gateway.cli.bootstrapping import bootstrap
from gateway.cli.connection import connected
from gateway.cli.display import moment, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.cli.lifecycle import directory_option
from gateway.client.money import in_credits
from gateway.wire import ChoiceView, OfferView, SupplyView

_COLUMNS = ("Offer", "Nodes", ">A job pays", "Where", "Market", ">It costs", "Priced", ">In use", ">At most", "Now")
_CHOICES = ("", "Offer", "Where", "Market", ">Nodes", ">An hour", ">Machines", ">Data", ">Together", "Why")


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "burst offers",
        "burst offers --json | jq -r '.[].supplies[] | select(.open | not) | .name, .why'",
        "burst offers update --dir /srv/burst",
    ),
)
@json_option
@click.pass_context
def offers(context: click.Context, as_json: bool) -> None:
    """List the sizes of node that can be had: where from, at what price, since when, and what is shut and why.

    A job pays its size's price for a node and an hour; what a machine costs its site stands beside it.
    """
    if context.invoked_subcommand is not None:
        return
    with connected() as gateway:
        found = gateway.offers()
    if as_json:
        show_json(found)
        return
    show_table(_COLUMNS, [row for offer in found for row in _rows(offer)])
    for supply in (supply for offer in found for supply in offer.supplies if supply.warning):
        click.echo(f"burst: warning: {supply.name}: {supply.warning}", err=True)


@offers.command(
    epilog=examples(
        "burst offers update --dir /srv/burst",
        "burst offers update --cloud aws --dir /srv/burst",
        "burst offers update --cloud aws --from index.json --dir /srv/burst",
    )
)
@click.option("--cloud", "clouds", multiple=True, metavar="NAME", help="Only this one of the clouds; repeatable.")
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Read a price list that was fetched before, in the provider's form or in the price book's.",
)
@directory_option
@json_option
def update(clouds: Sequence[str], file: Path | None, directory: Path, as_json: bool) -> None:
    """Bring the price book of a gateway on this machine up to date, from what the clouds' providers publish.

    A running gateway takes the new prices at once. What has no price is never ordered; the exit code is 1 if there is
    such a size, or if a cloud could not be asked.
    """
    more = [word for name in clouds for word in ("--cloud", name)]
    more += [] if file is None else ["--from", str(file.absolute())]
    facts = bootstrap("offers-update", directory, more, progress=lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    lacking = False
    for cloud in facts["clouds"]:
        if not as_json:
            sources = f" ({'; '.join(cloud['sources'])})" if cloud["sources"] else ""
            click.echo(f"{cloud['cloud']}: {cloud['machines']} prices of machines, {cloud['egress']} of data{sources}")
        if cloud["trouble"]:
            click.echo(f"burst: warning: {cloud['cloud']}: {cloud['trouble']}", err=True)
        if cloud["missing"]:
            sizes = ", ".join(cloud["missing"])
            click.echo(f"burst: warning: {cloud['cloud']}: no price of {sizes}: never ordered", err=True)
        lacking |= bool(cloud["trouble"] or cloud["missing"])
    if lacking:
        click.get_current_context().exit(1)


def show_choices(choices: Sequence[ChoiceView]) -> None:
    """Print the offers that were considered for a job, the chosen one marked."""
    show_table(_CHOICES, [_choice(choice) for choice in choices])


def _rows(offer: OfferView) -> list[tuple[str, ...]]:
    gpus = f", {offer.gpus} {offer.gpu_type or ''} GPUs".replace("  ", " ") if offer.gpus else ""
    nodes = f"{offer.cores} cores, {offer.memory_mb} MiB{gpus}"
    pays = in_credits(offer.price_ucr_per_hour) if offer.price_ucr_per_hour else "not sold now"
    first = (offer.name, nodes, pays)
    if not offer.supplies:
        return [(*first, offer.provider, "", "", "", str(offer.in_use), str(offer.max_nodes), "")]
    heads = [first, *[("", "", "")] * (len(offer.supplies) - 1)]
    return [(*head, *_supply(supply, offer)) for head, supply in zip(heads, offer.supplies, strict=True)]


def _supply(supply: SupplyView, offer: OfferView) -> tuple[str, ...]:
    price = "not known" if supply.price_ucr_per_hour is None else in_credits(supply.price_ucr_per_hour)
    priced = moment(supply.price_as_of)[:10] or supply.price_source
    until = f" until {moment(supply.until)}" if supply.until else ""
    most = offer.max_nodes if supply.max_nodes is None else supply.max_nodes
    now = "open" if supply.open else f"shut{until}: {supply.why}"
    where = f"{supply.name.partition('+')[0]}{' (bare metal)' if supply.bare_metal else ''}"
    return (where, supply.market, price, priced, str(supply.in_use), str(most), now)


def _choice(choice: ChoiceView) -> tuple[str, ...]:
    price = "" if choice.price_ucr_per_hour is None else in_credits(choice.price_ucr_per_hour)
    amounts = (choice.compute_ucr, choice.egress_ucr, choice.total_ucr)
    costs = (price, *(in_credits(amount) if price and choice.nodes else "" for amount in amounts))
    mark, where = "*" if choice.chosen else "", choice.supply.partition("+")[0]
    return (mark, choice.offer, where, choice.market, str(choice.nodes or ""), *costs, choice.why)
