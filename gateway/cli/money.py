"""burst receipt, balance, credit.

Invariant: amounts are shown as the gateway counted them, to the last micro-credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from gateway.cli.connection import connected
from gateway.cli.display import moment, show_facts, show_json, show_table
from gateway.cli.invocation import examples, job_argument, json_option
from gateway.cli.offers import show_choices
from gateway.client.money import from_credits, in_credits
from gateway.wire import Quote, QuoteLine, Receipt


@click.command(
    epilog=examples(
        "burst receipt 12", "burst receipt 12 --json > receipt.json", "burst receipt 12 --evidence proof.json"
    )
)
@job_argument
@click.option(
    "--evidence",
    type=click.Path(path_type=Path, dir_okay=False, writable=True, allow_dash=True),
    help="Write the receipt with the request that ordered it and every key to this file, for `burst verify`.",
)
@json_option
def receipt(job: str, evidence: Path | None, as_json: bool) -> None:
    """Print what the job ID used and paid, once it has settled; the gateway signs it."""
    with connected() as gateway:
        if evidence is not None:
            _write(gateway.proof(job), evidence)
            return
        found = gateway.receipt(job)
    if as_json:
        show_json(found)
    else:
        show_receipt(found)


@click.command(epilog=examples("burst balance", "burst balance --json"))
@json_option
def balance(as_json: bool) -> None:
    """Show the accounts that you may spend from: what is available, and what running jobs hold."""
    with connected() as gateway:
        found = gateway.balance()
    if as_json:
        show_json(found)
        return
    rows = [(account.account, in_credits(account.available_ucr), in_credits(account.held_ucr)) for account in found]
    show_table(("Account", ">Available", ">Held"), rows)


@click.command(epilog=examples("burst credit demo 25 --memo 'grant 2026-17'"))
@click.argument("account")
@click.argument("amount")
@click.option("--memo", required=True, help="Why; kept in the ledger.")
@json_option
def credit(account: str, amount: str, memo: str, as_json: bool) -> None:
    """Give AMOUNT credits to ACCOUNT; only an admin may."""
    with connected() as gateway:
        found = gateway.credit(account, from_credits(amount), memo)
    if as_json:
        show_json(found)
    else:
        click.echo(f"{found.account} has {in_credits(found.available_ucr)} available.")


def show_receipt(bill: Receipt) -> None:
    """Print a bill: what was used, what was held, charged and given back."""
    show_facts(
        [
            ("Receipt", bill.number),
            ("Job", str(bill.job or bill.burst_id)),
            ("Account", bill.account),
            ("Settled", moment(bill.settled_at)),
        ]
    )
    click.echo()
    show_lines(bill.lines)
    click.echo()
    for name, amount in (("Held", bill.held_ucr), ("Charged", bill.charged_ucr), ("Given back", bill.refunded_ucr)):
        click.echo(f"{name:<10}  {in_credits(amount):>20}")
    click.echo(f"\nAuthorised by request {bill.authorisation[:16]}…, signed by the gateway {bill.signature[:16]}…")


def _write(proof: bytes, file: Path) -> None:
    if str(file) == "-":
        click.echo(proof)
        return
    file.write_bytes(proof)
    click.echo(f"{file} proves it without any gateway: burst verify {file}", err=True)


def show_quote(quote: Quote) -> None:
    """Print a price: what it is made of, and what the account has."""
    show_lines(quote.lines)
    click.echo()
    show_facts(
        [
            ("At most", f"{in_credits(quote.total_ucr)} on {quote.offer}"),
            ("Account", f"{quote.account} has {in_credits(quote.balance_ucr)} available"),
        ]
    )
    if quote.choices:
        click.echo("\nOffers that were considered, with what machines and data would cost the site there:")
        show_choices(quote.choices)


def show_lines(lines: Sequence[QuoteLine]) -> None:
    """Print the priced lines of a quote or receipt."""
    if not lines:
        click.echo("Nothing was used.")
        return
    rows = [(line.text, f"{line.quantity:.6g}", line.unit, in_credits(line.amount_ucr)) for line in lines]
    show_table(("What", ">Quantity", "Unit", ">Amount"), rows)
