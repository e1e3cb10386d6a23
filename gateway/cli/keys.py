"""burst keys list, rotate.

Invariant: nothing that is shown is secret; what is rotated is decided in gateway.bootstrap.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.bootstrapping import bootstrap
from gateway.cli.display import show_facts, show_table
from gateway.cli.invocation import examples, json_option
from gateway.cli.lifecycle import directory_option

RINGS = ("signing", "credentials", "sealing")


@click.group(
    epilog=examples(
        "burst keys list --dir /srv/burst",
        "burst keys rotate signing --dir /srv/burst",
        "burst keys rotate --dir /srv/burst --json",
    )
)
def keys() -> None:
    """The keys of a gateway in a directory of this machine: two rings that sign, and one key that seals the rest.

    Each command has --help and --json. A gateway that runs takes new keys up by itself.
    """


@keys.command("list", epilog=examples("burst keys list", "burst keys list --dir /srv/burst --json"))
@directory_option
@json_option
def list_keys(directory: Path, as_json: bool) -> None:
    """List the keys by their names, with the time in which each signs."""
    facts = bootstrap("keys-list", directory, progress=_tell)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _show(facts)


@keys.command(
    epilog=examples(
        "burst keys rotate",
        "burst keys rotate credentials --dir /srv/burst",
        "burst keys rotate sealing --key-file /etc/burst-gateway/sealing.key --dir /var/lib/burst-gateway",
    )
)
@click.argument("rings", nargs=-1, type=click.Choice(RINGS), metavar="[signing|credentials|sealing]...")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The sealing key's file, where the service gets it by LoadCredential; the service must be stopped.",
)
@directory_option
@json_option
def rotate(rings: Sequence[str], key_file: Path | None, directory: Path, as_json: bool) -> None:
    """Make new keys, of all three kinds unless some are named; old ones sign and seal no more.

    What an old key signed in its time can still be verified. With a new sealing key everything is sealed anew.
    """
    if key_file is not None and rings and "sealing" not in rings:
        raise click.UsageError("--key-file is for the sealing key.")
    more = [word for ring in rings for word in ("--ring", ring)]
    more += [] if key_file is None else ["--key-file", str(key_file.absolute())]
    facts = bootstrap("keys-rotate", directory, more, progress=_tell)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        for ring, made in facts["rotated"].items():
            click.echo(_made(ring, made))


def _show(facts: dict[str, Any]) -> None:
    columns = ("key", "algorithm", "state", "from", "until")
    rows = [[ring, *(key[column] for column in columns)] for ring in RINGS[:2] for key in facts[ring]]
    show_table(["RING", "KEY", "ALGORITHM", "STATE", "FROM", "UNTIL"], rows)
    sealing = facts["sealing"]
    click.echo()
    show_facts(
        [
            ("Sealing key", f"{', '.join(sealing['keys'])} in {sealing['file']} ({sealing['source']})"),
            ("Seals", f"{', '.join(sealing['files'])}; {sealing['values']} values of the database"),
        ]
    )


def _made(ring: str, made: dict[str, Any]) -> str:
    if ring != "sealing":
        return f"{ring}: {made['key']} signs until {made['until'][:10]}."
    sealed = f"sealing: {made['files']} files and {made['values']} values are sealed with {made['key']}"
    if made["keeps_last"]:
        return f"{sealed}; the gateway runs, so the key of before stays for one more rotation. Back {made['file']} up."
    return f"{sealed}, the only key in {made['file']}. Back it up."


def _tell(text: str) -> None:
    click.echo(text, err=True)
