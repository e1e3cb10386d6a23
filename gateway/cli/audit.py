"""burst audit: who did what, and whether the log is whole.

Invariant: --verify ends with 0 only when every record and every ledger entry follows the one before it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.bootstrapping import bootstrap
from gateway.cli.connection import connected
from gateway.cli.display import moment, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.money import in_credits
from gateway.wire import AuditChain, AuditRecord

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
_COLUMNS = (">No", "When", "Who", "Action", "What", ">Credits", "Outcome", "Authorisation", "Text")


@click.command(
    epilog=examples(
        "burst audit --job 12",
        "burst audit --user bob --since 2026-03-01",
        "burst audit --node small-1 --json",
        "burst audit --account lab --limit 500",
        "burst audit --refused",
        "burst audit --verify",
        "burst audit --verify --dir /srv/burst --known 5d41402abc4b2a76…",
    )
)
@click.option("--job", metavar="ID", help="What concerns a job: who, when, at what price, on which node.")
@click.option("--user", metavar="USER", help="What a user did, or what was done about them.")
@click.option("--node", metavar="NODE", help="A node's life, and the jobs that it ran.")
@click.option("--account", metavar="ACCOUNT", help="Money: credits, holds, charges, budgets.")
@click.option("--since", type=_TIME, help="From this time on (UTC).")
@click.option("--until", type=_TIME, help="Before this time (UTC).")
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option("--alarms", is_flag=True, help="Only what somebody should look at.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The newest so many.")
@click.option("--verify", is_flag=True, help="Follow the chains of the log and of the ledger; admins, or with --dir.")
@click.option("--known", metavar="HASH", help="With --verify: a head noted earlier that must still be in the log.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --verify: read it there, offline.",
)
@json_option
def audit(  # noqa: PLR0917 - each is an option
    since: datetime | None,
    until: datetime | None,
    refused: bool,
    alarms: bool,
    limit: int,
    verify: bool,
    known: str | None,
    directory: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Say who did what, under which authorisation, for which job, at what price; newest first.

    You see what concerns you; an administrator sees everything.
    """
    if verify:
        _show_chain(_verified(known, directory), as_json=as_json)
        return
    if known or directory:
        raise click.UsageError("--known and --dir go with --verify")
    outcome = "refused" if refused else "alarm" if alarms else None
    with connected() as gateway:
        found = list(gateway.audit.records(limit, since=_utc(since), until=_utc(until), outcome=outcome, **asked))
    if as_json:
        show_json(found)
    elif found:
        show_table(_COLUMNS, map(_row, found))
    else:
        click.echo("The log says nothing of that, as far as it concerns you.", err=True)


def _verified(known: str | None, directory: Path | None) -> AuditChain:
    if directory is not None:
        more = ("--known", known) if known else ()
        answer = bootstrap("audit", directory, more, progress=lambda text: click.echo(text, err=True))
        return AuditChain.model_validate(answer)
    with connected() as gateway:
        return gateway.audit.verify(known)


def _show_chain(chain: AuditChain, *, as_json: bool) -> None:
    if as_json:
        show_json(chain)
        return
    click.echo(f"Audit log: {chain.records} records, each follows the one before it. Head {chain.head}")
    click.echo(f"Ledger: {chain.ledger_entries} entries, likewise, and they sum up. Head {chain.ledger_head}")
    click.echo("Note the log's head elsewhere: --known HASH finds out later whether its end was cut off.", err=True)


def _row(record: AuditRecord) -> tuple[str, ...]:
    price = "" if record.amount_ucr is None else in_credits(record.amount_ucr)
    proof = (record.authorisation or "")[:16]
    facts = (str(record.seq), moment(record.at), record.actor, record.action, record.subject)
    return *facts, price, record.outcome, proof, record.text


def _utc(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=UTC) if day else None
