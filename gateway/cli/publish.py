"""burst publish.

Invariant: asked again it shows the DOI that there is; nothing is published that was not asked for by name.
"""

from __future__ import annotations

from typing import Any

import click
from pydantic import ValidationError

from gateway.cli.connection import connected
from gateway.cli.display import show_facts, show_json, size
from gateway.cli.invocation import examples, job_argument, json_option
from gateway.errors import OptionError
from gateway.wire import PublicationView, PublishRequest


@click.command(
    epilog=examples(
        "burst publish 12 --title 'Ising energies at T=2.1' --creator 'Lovelace, Ada <0000-0002-1825-0097>'",
        "burst publish 12 --title T --creator 'Byron, A' --access open --licence CC-BY-4.0",
        "burst publish 12 --title T --creator 'Byron, A' --related IsDerivedFrom=10.1234/abc",
    )
)
@job_argument
@click.option("--title", required=True, help="Of the data set.")
@click.option(
    "--creator", "creators", multiple=True, required=True, metavar="'FAMILY, GIVEN <ORCID>'", help="Repeatable."
)
@click.option("--description", default="", help="An abstract.")
@click.option(
    "--access",
    type=click.Choice(["restricted", "open"]),
    default="restricted",
    show_default=True,
    help="Who may read the bytes: whom you grant it, or everybody.",
)
@click.option("--licence", metavar="SPDX", help="SPDX identifier, such as CC-BY-4.0.")
@click.option("--related", multiple=True, metavar="RELATION=DOI|URL", help="Something that it builds on; repeatable.")
@json_option
def publish(job: str, *, as_json: bool, **said: Any) -> None:
    """Give the files of the job ID a DOI and a public landing page.

    The page and the metadata are public; the bytes only to those whom `burst share grant` names, unless --access is
    open. What is published does not change any more. Asked again, it finds the same DOI.
    """
    try:
        request = PublishRequest(**said)
    except ValidationError as error:
        first = error.errors()[0]
        raise OptionError(f"--{first['loc'][0]}: {first['msg']}", hint="see burst publish --help") from None
    with connected() as gateway:
        found = gateway.publish(job, request)
    if as_json:
        show_json(found)
    else:
        show_publication(found)


def show_publication(found: PublicationView) -> None:
    """Print a publication."""
    show_facts(
        [
            ("DOI", f"https://doi.org/{found.doi}"),
            ("State", found.state),
            ("Page", found.url),
            ("Title", found.title),
            ("Files", f"{found.files}, {size(found.bytes)}"),
            ("Access", found.access),
            ("Readers", ", ".join(found.readers)),
        ]
    )
