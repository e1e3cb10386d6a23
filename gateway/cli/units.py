"""burst units: what a job can be paid in instead of node time.

Invariant: prices are shown as the gateway counts them, to the last micro-credit.
"""

from __future__ import annotations

import click

from gateway.cli.connection import connected
from gateway.cli.display import show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.money import in_credits
from gateway.wire import UnitView


@click.command(epilog=examples("burst units", "burst units --json"))
@json_option
def units(as_json: bool) -> None:
    """List the simulation units that a job can be paid in, with price and meter.

    A script orders some with a line `#BURST --units=CODE:N`; it is charged for what it delivers, at most N a task.
    """
    with connected() as gateway:
        found = gateway.units()
    if as_json:
        show_json(found)
    elif found:
        show_table(("Unit", ">Price of one", "What", "Metered"), [_row(unit) for unit in found])
    else:
        click.echo("This gateway sells node time only.", err=True)


def _row(unit: UnitView) -> tuple[str, ...]:
    return unit.code, in_credits(unit.price_ucr), unit.title, _meter(unit)


def _meter(unit: UnitView) -> str:
    match unit.meter:
        case "count":
            return f"lines of {unit.file} that match {unit.pattern}"
        case "last":
            return f"last number in {unit.file} that matches {unit.pattern}"
        case _:
            return "one for each task that ends with exit code 0"
