"""burst report: what was spent, as a table with bars, as CSV or as JSON.

Invariant: the amounts are the ledger's, exact; only a bar is rounded, to an eighth of a character.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import click

from gateway.cli.connection import connected
from gateway.cli.display import show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.money import in_credits
from gateway.wire import Report, ReportRow

BAR_CELLS = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
_DAY = click.DateTime(["%Y-%m-%d"])
_CREDIT_UCR = 1_000_000


@click.command(
    epilog=examples(
        "burst report",
        "burst report --by account --by month",
        "burst report --by user --since 2026-01-01 --until 2026-02-01",
        "burst report --by user --csv > spending.csv",
    )
)
@click.option(
    "--by",
    type=click.Choice(["month", "account", "user"]),
    multiple=True,
    default=("month",),
    show_default=True,
    help="What to group by; repeatable.",
)
@click.option("--since", type=_DAY, help="Jobs settled from this day on (UTC).")
@click.option("--until", type=_DAY, help="Jobs settled before this day (UTC).")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: one row a group, credits and micro-credits.")
@json_option
def report(by: Sequence[str], since: datetime | None, until: datetime | None, as_csv: bool, as_json: bool) -> None:
    """Say what your accounts spent; an administrator sees all accounts. Months are UTC's."""
    with connected() as gateway:
        found = gateway.report(by, since=_utc(since), until=_utc(until))
    if as_json:
        show_json(found)
    elif as_csv:
        _write_csv(found)
    elif found.jobs:
        _show(found)
    else:
        click.echo("No job was settled in that time.", err=True)


def bar(amount: int, most: int, cells: int = BAR_CELLS) -> str:
    """A bar of at most ``cells`` characters; what is not nothing has at least an eighth of one."""
    if amount <= 0 or most <= 0:
        return ""
    eighths = max(1, amount * cells * 8 // most)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _show(found: Report) -> None:
    most = max(row.spend_ucr for row in found.rows)
    columns = (*(name.capitalize() for name in found.by), ">Jobs", ">Spend", "", "Units")
    rows = [
        (*row.keys, str(row.jobs), in_credits(row.spend_ucr), bar(row.spend_ucr, most), _units(row))
        for row in found.rows
    ]
    total = ("Total", *("" for _ in found.by[1:]), str(found.jobs), in_credits(found.spend_ucr), "", "")
    show_table(columns, [*rows, total])


def _write_csv(found: Report) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*found.by, "jobs", "spend_credits", "spend_ucr", "units"])
    for row in found.rows:
        spend = Decimal(row.spend_ucr) / _CREDIT_UCR
        writer.writerow([*row.keys, row.jobs, f"{spend:.6f}", row.spend_ucr, _units(row)])


def _units(row: ReportRow) -> str:
    return " ".join(f"{unit}={quantity}" for unit, quantity in sorted(row.units.items()))


def _utc(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=UTC) if day else None
