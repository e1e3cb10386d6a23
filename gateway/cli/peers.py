"""burst peers: list, trust, distrust; burst visit.

Invariant: a gateway is trusted by its keys' fingerprints, which two administrators compared.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import click

from gateway.cli.connection import connected
from gateway.cli.display import moment, show_facts, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client import profile as profiles
from gateway.client.federation import look_up
from gateway.client.federation import visit as go
from gateway.client.session import Session
from gateway.errors import NotAllowed
from gateway.identity.keys import read_public, thumbprint


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "burst peers",
        "burst peers trust bristol https://burst.bristol.example --project climate",
        "burst peers trust bristol https://burst.bristol.example --fingerprint 5Zl3…",
        "burst peers distrust bristol",
    ),
)
@json_option
@click.pass_context
def peers(context: click.Context, as_json: bool) -> None:
    """List the gateways that this one trusts; trust another one."""
    if context.invoked_subcommand is not None:
        return
    with connected() as gateway:
        found = gateway.peers()
    if as_json:
        show_json(found)
    else:
        rows = [(one.name, one.issuer, ", ".join(one.projects) or "-", moment(one.since)) for one in found]
        show_table(("Name", "Gateway", "Its users spend from", "Since"), rows)


@peers.command()
@click.argument("name")
@click.argument("url")
@click.option("--project", "projects", multiple=True, help="Here, which its users may spend from; can be repeated.")
@click.option("--fingerprint", help="Of one of its keys, as its administrator told you; anything else is refused.")
@click.option("--yes", is_flag=True, help="Do not ask whether the fingerprints are right.")
@json_option
def trust(name: str, url: str, *, projects: tuple[str, ...], fingerprint: str | None, yes: bool, as_json: bool) -> None:
    """Trust the gateway at URL, to be called NAME here; without --project only our users go there.

    Trusting it again takes up its new keys and projects.
    """
    found = look_up(name, url, projects)
    prints = [thumbprint(read_public(_plain(key))) for key in found.keys["keys"]]
    if fingerprint is not None and fingerprint not in prints:
        raise NotAllowed(f"{url} has no key {fingerprint}", hint=f"it has {', '.join(prints)}; ask its administrator")
    if fingerprint is None and not yes:
        click.echo(f"{found.issuer} signs with\n" + "\n".join(f"    {each}" for each in prints), err=True)
        click.confirm("Did its administrator tell you the same?", abort=True, err=True)
    with connected() as gateway:
        made = gateway.trust(found)
    if as_json:
        show_json(made)
    else:
        click.echo(f"{made.issuer} is trusted as {made.name}.")


@peers.command()
@click.argument("name")
@json_option
def distrust(name: str, as_json: bool) -> None:
    """Trust a gateway no more: sessions of its users here end, and their projects are closed to them."""
    with connected() as gateway:
        gateway.distrust(name)
    click.echo('{"distrusted": true}' if as_json else f"{name} is trusted no more.")


@click.command(
    epilog=examples(
        "burst visit bristol",
        "burst visit https://burst.bristol.example --profile bristol",
        "BURST_PROFILE=bristol burst submit job.sh",
    )
)
@click.argument("peer")
@click.option("--profile", "name", help="Keep the login under this name. [default: the name of the gateway here]")
@json_option
def visit(peer: str, *, name: str | None, as_json: bool) -> None:
    """Log in at another gateway that trusts yours: no password; your own gateway says who you are.

    The login lasts an hour; visit again for another one.
    """
    with Session.saved() as home, go(home, peer) as guest:
        kept = name or urlsplit(peer).hostname or peer
        guest.save(kept)
    profile = guest.profile
    if as_json:
        click.echo(json.dumps({"url": profile.url, "user": profile.user, "profile": kept}, indent=2))
        return
    show_facts([("Gateway", profile.url), ("User", profile.user), ("Until", moment(profile.expires_at))])
    click.echo(f"BURST_PROFILE={kept} before a command uses it: {profiles.profile_path(kept)}")


def _plain(key: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in key.items() if name in {"kty", "crv", "x", "d"}}
