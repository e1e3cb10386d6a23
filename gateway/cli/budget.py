"""burst budget: show, set, remove.

Invariant: amounts are shown as the gateway counted them, to the last micro-credit.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from gateway.cli.connection import connected
from gateway.cli.display import moment, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.money import from_credits, in_credits
from gateway.wire import BudgetView

_COLUMNS = ("Account", ">Limit", ">Spent", ">Held", ">Left", "Since", "At its limit")


@click.group(
    invoke_without_command=True,
    epilog=examples("burst budget", "burst budget set demo --limit 20", "burst budget set demo --limit 20 --stop"),
)
@json_option
@click.pass_context
def budget(context: click.Context, as_json: bool) -> None:
    """Show the budgets of your accounts, and what counts against them."""
    if context.invoked_subcommand is not None:
        return
    with connected() as gateway:
        found = gateway.budgets()
    if as_json:
        show_json(found)
    elif found:
        show_table(_COLUMNS, [_row(one) for one in found])
    else:
        click.echo("No budgets. Set one: burst budget set ACCOUNT --limit CREDITS", err=True)


@budget.command("set", epilog=examples("burst budget set demo --limit 20", "burst budget set lab --limit 0.5 --stop"))
@click.argument("account")
@click.option("--limit", required=True, metavar="CREDITS", help="The most that may be spent.")
@click.option("--stop", is_flag=True, help="End running jobs when it is used up.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Count jobs submitted from this day on (UTC). [default: now, or what it was]",
)
@json_option
def set_budget(account: str, limit: str, stop: bool, since: datetime | None, as_json: bool) -> None:
    """Set the budget of ACCOUNT.

    Without --stop a job is refused if the most that it can cost does not fit beside what was spent and what is held.
    With --stop jobs may begin while anything is left, and running ones are ended when it is used up: their outputs
    are kept and they pay for what they used.
    """
    day = since.replace(tzinfo=UTC) if since else None
    with connected() as gateway:
        found = gateway.set_budget(account, from_credits(limit), stops=stop, since=day)
    if as_json:
        show_json(found)
    else:
        show_table(_COLUMNS, [_row(found)])


@budget.command("remove", epilog=examples("burst budget remove demo"))
@click.argument("account")
@json_option
def remove(account: str, as_json: bool) -> None:
    """Remove the budget of ACCOUNT: it may spend what it has."""
    with connected() as gateway:
        gateway.remove_budget(account)
    if as_json:
        click.echo(json.dumps({"account": account, "removed": True}))
    else:
        click.echo(f"{account} has no budget any more.")


def _row(found: BudgetView) -> tuple[str, ...]:
    left = found.limit_ucr - found.charged_ucr - (0 if found.stops else found.held_ucr)
    amounts = (found.limit_ucr, found.charged_ucr, found.held_ucr, max(0, left))
    action = "ends running jobs" if found.stops else "refuses jobs"
    return found.account, *map(in_credits, amounts), moment(found.since), action
