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
from gateway.cli.invocation import examples, json_option, scope_option
from gateway.cli.scopes import said
from gateway.cli.secret_input import code_option, password_of, password_option, with_code
from gateway.client import principal
from gateway.client import profile as profiles
from gateway.client.device import DeviceLogin
from gateway.client.session import Session, demand_fingerprint
from gateway.errors import BadReply, OptionError
from gateway.identity import succession
from gateway.identity.scopes import read_scopes
from gateway.wire import Identity


@click.command(
    epilog=examples(
        "burst login http://127.0.0.1:8080 --user demo",
        "burst login http://127.0.0.1:8080 --user demo --password-file D/secrets/demo.password",
        "burst login --dir .burst/gateway",
        "burst login https://burst.lab.example --fingerprint SHA256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        "burst login --device https://burst.lab.example",
        "burst login --device --scope jobs:read --scope storage:read https://burst.lab.example",
        "burst login --key-file robot.key --user climate-robot https://burst.lab.example",
        "burst login --remember https://burst.lab.example",
        "BURST_PROFILE=lab burst login https://burst.lab.example",
    )
)
@click.argument("url", required=False)
@click.option("-u", "--user", help="Your name at the gateway. [default: your login name]")
@password_option
@code_option
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of a gateway on this machine: its URL and first passwords are found there. --user is demo or admin.",
)
@click.option("--remember", is_flag=True, help="After a login with a code, this device needs none the next time.")
@click.option("--device", is_flag=True, help="Show a code to approve in a browser, here or on a phone; no password.")
@scope_option
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Of a service principal: its registered key (burst principals new-key). --user is its name.",
)
@click.option(
    "--fingerprint", help="Of the gateway's key, SHA256:…, from its operator; nothing is sent to a gateway of another."
)
@json_option
def login(
    url: str | None,
    *,
    user: str | None,
    password_file: Path | None,
    code_file: Path | None,
    directory: Path | None,
    remember: bool,
    device: bool,
    scope: tuple[str, ...],
    key_file: Path | None,
    fingerprint: str | None,
    as_json: bool,
) -> None:
    """Log in to the gateway at URL [default: BURST_URL].

    An Ed25519 key is made here and certified for some hours; every later request is signed with it. The key is kept
    in your configuration directory, readable by you only. Where you have enrolled an authenticator app (burst totp)
    its code is asked for, unless this device is remembered.
    in your configuration directory, readable by you only. The gateway's own key, which all its answers must be signed
    with from then on, is met here: compare its fingerprint with the operator's, or demand it with --fingerprint.
    """
    _check_together(device=device, user=user, password_file=password_file, key_file=key_file)
    if directory is not None:
        url, name, found = _of_directory(directory, url, user, password_file)
        user, password_file = (user, None) if key_file else (name, found)
    where = url or os.environ.get("BURST_URL")
    if not where:
        raise OptionError("no gateway was named", option="url", hint="burst login URL, or set BURST_URL", exit_code=2)
    read_scopes(scope)
    demanded = None if fingerprint is None else demand_fingerprint(where, fingerprint)
    if key_file and user:
        begun = principal.login(where, user, key_file, scope, patience_s=5)
    elif device:
        begun = _by_device(where, scope)
    else:
        begun = _by_password(where, user, password_file, code_file, scope, remember=remember)
    with begun as session:
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
        _show(session.profile, account=found.account, role=found.role, scopes=found.scopes)


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


def _check_together(*, device: bool, user: str | None, password_file: Path | None, key_file: Path | None) -> None:
    if device and (user or password_file):
        given = "--user" if user else "--password-file"
        hint = "give it to the browser that approves, or leave out --device"
        raise OptionError(f"{given} does not go with --device", option=given, hint=hint, exit_code=2)
    if key_file and (device or password_file):
        given = "--device" if device else "--password-file"
        hint = "a service principal has its key and nothing else"
        raise OptionError(f"{given} does not go with --key-file", option=given, hint=hint, exit_code=2)
    if key_file and not user:
        hint = "give the principal's name"
        raise OptionError("--key-file needs --user", option="--user", hint=hint, exit_code=2)


def _check_key(session: Session, demanded: str | None) -> None:
    """What was published a moment ago is what certified the login."""
    found = succession.fingerprint(session.profile.gateway_keys[0])
    if demanded not in {None, found}:
        raise BadReply(f"The gateway's key is {found}, not {demanded}.", hint="nothing was kept; ask its operator")


def _by_password(
    url: str, user: str | None, file: Path | None, code_file: Path | None, scopes: tuple[str, ...], *, remember: bool
) -> Session:
    name = user or click.prompt("User", default=os.environ.get("USER"), err=True)
    password = password_of(file, name)

    def begin(code: str | None) -> Session:
        return Session.login(url, name, password, code=code, remember=remember, scopes=scopes, patience_s=5)

    return with_code(begin, code_file)


def _by_device(url: str, scopes: tuple[str, ...]) -> Session:
    waiting = DeviceLogin.begin(url, scopes=scopes, patience_s=5)
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


def _show(profile: profiles.Profile, *, account: str = "", role: str = "", scopes: tuple[str, ...] = ()) -> None:
    left = (profile.expires_at - datetime.now(UTC)).total_seconds()
    show_facts(
        [
            ("Gateway", profile.url),
            ("User", profile.user + (f" ({role})" if role else "")),
            ("Account", account),
            ("May", said(scopes)),
            ("Until", f"{moment(profile.expires_at)} ({duration(left)})"),
            ("Key", succession.fingerprint(profile.gateway_keys[0]) if profile.gateway_keys else ""),
        ]
    )
