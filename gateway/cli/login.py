"""burst login, logout, whoami.

Invariant: a password is read from a terminal without echo, from a file or from stdin; never from the command line.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import segno

from gateway.cli.display import duration, moment, show_facts, show_json
from gateway.cli.invocation import examples, json_option
from gateway.client import profile as profiles
from gateway.client.device import DeviceLogin
from gateway.client.session import Session, demand_fingerprint
from gateway.errors import BadReply, OptionError
from gateway.identity import succession
from gateway.wire import Identity


@click.command(
    epilog=examples(
        "burst login http://127.0.0.1:8080 --user demo",
        "burst login http://127.0.0.1:8080 --user demo --password-file D/secrets/demo.password",
        "burst login --dir .burst/gateway",
        "burst login https://burst.lab.example --fingerprint SHA256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        "burst login --device https://burst.lab.example",
        "BURST_PROFILE=lab burst login https://burst.lab.example",
    )
)
@click.argument("url", required=False)
@click.option("-u", "--user", help="Your name at the gateway. [default: your login name]")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Read the password from this file; - is stdin.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of a gateway on this machine: its URL and first passwords are found there. --user is demo or admin.",
)
@click.option("--device", is_flag=True, help="Show a code to approve in a browser, here or on a phone; no password.")
@click.option(
    "--fingerprint", help="Of the gateway's key, SHA256:…, from its operator; nothing is sent to a gateway of another."
)
@json_option
def login(
    url: str | None,
    *,
    user: str | None,
    password_file: Path | None,
    directory: Path | None,
    device: bool,
    fingerprint: str | None,
    as_json: bool,
) -> None:
    """Log in to the gateway at URL [default: BURST_URL].

    An Ed25519 key is made here and certified for some hours; every later request is signed with it. The key is kept
    in your configuration directory, readable by you only. The gateway's own key, which all its answers must be signed
    with from then on, is met here: compare its fingerprint with the operator's, or demand it with --fingerprint.
    """
    if device and (user or password_file):
        given = "--user" if user else "--password-file"
        hint = "give it to the browser that approves, or leave out --device"
        raise OptionError(f"{given} does not go with --device", option=given, hint=hint, exit_code=2)
    if directory is not None:
        url, user, password_file = _of_directory(directory, url, user, password_file)
    where = url or os.environ.get("BURST_URL")
    if not where:
        raise OptionError("no gateway was named", option="url", hint="burst login URL, or set BURST_URL", exit_code=2)
    demanded = None if fingerprint is None else demand_fingerprint(where, fingerprint)
    with _by_device(where) if device else _by_password(where, user, password_file) as session:
        _check_key(session, demanded)
        session.save()
    profile = session.profile
    if as_json:
        fields = {"url": profile.url, "user": profile.user, "expires_at": profile.expires_at.isoformat()}
        fields["fingerprint"] = succession.fingerprint(profile.gateway_keys[0])
        click.echo(json.dumps(fields, indent=2))
    else:
        _show(profile)


@click.command(epilog=examples("burst logout"))
@json_option
def logout(as_json: bool) -> None:
    """End the session at the gateway and forget its key."""
    path = profiles.profile_path()
    with Session(profiles.load(path), patience_s=2) as session:
        session.logout()
    if as_json:
        click.echo('{"logged_out": true}')
    else:
        click.echo(f"Logged out from {session.profile.url}.")


@click.command(epilog=examples("burst whoami", "burst whoami --json | jq -r .url"))
@json_option
def whoami(as_json: bool) -> None:
    """Say where and as whom you are logged in, and until when; asks the gateway."""
    with Session.saved() as session:
        found = session.get("/whoami", Identity)
    if as_json:
        show_json(found)
    else:
        _show(session.profile, account=found.account, role=found.role)


def _of_directory(
    directory: Path, url: str | None, user: str | None, password_file: Path | None
) -> tuple[str | None, str, Path]:
    """What is not given, from the files that ``burst up`` leaves."""
    name = user or "demo"
    try:
        found = json.loads((directory / "run" / "ready.json").read_text())["url"]
    except (OSError, ValueError, KeyError):
        raise OptionError(
            f"no gateway runs in {directory}", option="--dir", hint=f"burst up --dir {directory}", exit_code=2
        ) from None
    return url or found, name, password_file or directory / "secrets" / f"{name}.password"


def _check_key(session: Session, demanded: str | None) -> None:
    """What was published a moment ago is what certified the login."""
    found = succession.fingerprint(session.profile.gateway_keys[0])
    if demanded not in {None, found}:
        raise BadReply(f"The gateway's key is {found}, not {demanded}.", hint="nothing was kept; ask its operator")


def _by_password(url: str, user: str | None, file: Path | None) -> Session:
    name = user or click.prompt("User", default=os.environ.get("USER"), err=True)
    return Session.login(url, name, _password(file, name), patience_s=5)


def _by_device(url: str) -> Session:
    waiting = DeviceLogin.begin(url, patience_s=5)
    asked = waiting.asked
    click.echo("Open this page, on any computer or phone, and sign in:\n", err=True)
    click.echo(f"    {asked.verification_uri_complete}\n", err=True)
    if sys.stderr.isatty():
        segno.make(asked.verification_uri_complete, micro=False).terminal(out=sys.stderr, compact=True, border=2)
    click.echo(f"Code   {asked.user_code}", err=True)
    click.echo(f"Words  {waiting.phrase}", err=True)
    minutes = asked.expires_in // 60
    click.echo(f"\nApprove only if the page shows the same words. Waiting, {minutes} minutes at most ...", err=True)
    return waiting.wait()


def _password(file: Path | None, user: str) -> str:
    if file is not None:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        return text.rstrip("\r\n")
    if not sys.stdin.isatty():
        raise OptionError(
            "there is no terminal to ask for the password",
            hint="give --password-file FILE, or - for stdin",
            exit_code=2,
        )
    password: str = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return password


def _show(profile: profiles.Profile, *, account: str = "", role: str = "") -> None:
    left = (profile.expires_at - datetime.now(UTC)).total_seconds()
    show_facts(
        [
            ("Gateway", profile.url),
            ("User", profile.user + (f" ({role})" if role else "")),
            ("Account", account),
            ("Until", f"{moment(profile.expires_at)} ({duration(left)})"),
            ("Key", succession.fingerprint(profile.gateway_keys[0]) if profile.gateway_keys else ""),
        ]
    )
