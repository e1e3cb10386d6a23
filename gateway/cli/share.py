"""burst share: whom a job's files or a publication's are shared with.

Invariant: a publication is named by its DOI, its page's URL or its suffix; what is no subcommand is a job.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.cli.connection import connected
from gateway.cli.display import show_json, show_table, size
from gateway.cli.invocation import examples, json_option
from gateway.cli.publish import show_publication
from gateway.cli.share_job import job, links, with_me
from gateway.client import transfer

_publication = click.argument("publication")
_user = click.argument("user")


class _ShareGroup(click.Group):
    """``burst share 12 …`` is ``burst share job 12 …``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A subcommand by its name, or the one for jobs."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["job", *args])


@click.group(
    cls=_ShareGroup,
    invoke_without_command=True,
    subcommand_metavar="JOB[:PATH] [OPTIONS] | COMMAND …",
    epilog=examples(
        "burst share 12 --with bob",
        "burst share 12:results/final.csv --group lab",
        "burst share 12:results --link --expires 2d",
        "burst share 12 --list",
        "burst share with-me",
        "burst share grant 10.12345/4f7kq2m3 bob",
    ),
)
@json_option
@click.pass_context
def share(context: click.Context, as_json: bool) -> None:
    """Let others read the files of a job, or give a link to them; show your publications and their readers."""
    if context.invoked_subcommand is not None:
        return
    with connected() as gateway:
        found = gateway.publications()
    if as_json:
        show_json(found)
    elif found:
        rows = [(one.doi, one.state, one.access, ", ".join(one.readers), one.title) for one in found]
        show_table(("DOI", "State", "Access", "Readers", "Title"), rows)
    else:
        click.echo("Nothing is published. Publish a job: burst publish ID --title … --creator …", err=True)


@share.command(epilog=examples("burst share grant 10.12345/4f7kq2m3 bob"))
@_publication
@_user
@json_option
def grant(publication: str, user: str, as_json: bool) -> None:
    """Let USER of this gateway read the files of PUBLICATION."""
    with connected() as gateway:
        found = gateway.grant(publication, user)
    if as_json:
        show_json(found)
    else:
        show_publication(found)


@share.command(epilog=examples("burst share revoke 10.12345/4f7kq2m3 bob"))
@_publication
@_user
@json_option
def revoke(publication: str, user: str, as_json: bool) -> None:
    """Take back what USER was granted; a download that has begun goes on."""
    with connected() as gateway:
        gateway.revoke(publication, user)
    if as_json:
        click.echo(json.dumps({"publication": publication, "revoked": user}))
    else:
        click.echo(f"{user} may not read {publication} any more.")


@share.command(epilog=examples("burst share fetch 10.12345/4f7kq2m3", "burst share fetch 10.12345/4f7kq2m3 --to data"))
@_publication
@click.option(
    "--to", "destination", type=click.Path(path_type=Path, file_okay=False), help="A folder. [default: its suffix]"
)
@json_option
def fetch(publication: str, destination: Path | None, as_json: bool) -> None:
    """Download the files of PUBLICATION and verify each SHA-256."""
    with connected() as gateway:
        found = gateway.published_files(publication)
    where = destination or Path(found.publication.rpartition("/")[2])
    transfer.fetch(found.files, where)
    if as_json:
        show_json(found)
        return
    show_table(("File", ">Size", "SHA-256"), [(one.path, size(one.size), one.sha256[:16]) for one in found.files])
    click.echo(f"\n{len(found.files)} files of {found.publication} in {where}; every SHA-256 is as published.")


for command in (job, links, with_me):
    share.add_command(command)
