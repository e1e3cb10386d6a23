"""burst unshare.

Invariant: what is taken back counts no more from the next request on; a download that has begun goes on.
"""

from __future__ import annotations

import json

import click

from gateway.cli.connection import connected
from gateway.cli.invocation import examples, job_and_path, json_option
from gateway.cli.share_job import subject_of, who_options


@click.command(
    epilog=examples(
        "burst unshare 12 --with bob",
        "burst unshare 12:results --group lab",
        "burst unshare --link 4f7a0c12d9e3b586",
    )
)
@click.argument("target", metavar="[JOB[:PATH]]", required=False)
@who_options[0]
@who_options[1]
@who_options[2]
@click.option("--link", metavar="ID", help="End a link; burst share links shows yours.")
@json_option
def unshare(target: str | None, *, link: str | None, as_json: bool, **asked: object) -> None:
    """Take back what burst share gave: the rule about this user or group and just this PATH, or a link."""
    subject = subject_of(asked["user"], asked["group"], asked["everyone"])
    if (link is None) == (subject is None) or (subject is not None and target is None):
        raise click.UsageError("Name a job and one of --with USER, --group GROUP and --everyone, or a link with --link")
    with connected() as gateway:
        if link is not None:
            gateway.shares.revoke_link(link)
        else:
            gateway.shares.unshare(*job_and_path(target or ""), str(subject))
    what = f"link {link}" if link else f"{target} with {subject}"
    if as_json:
        click.echo(json.dumps({"unshared": what}))
    else:
        click.echo(f"No longer shared: {what}.")
