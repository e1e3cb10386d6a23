"""burst totp: an authenticator app as the second factor.

Invariant: the secret and the recovery codes are shown once, and the secret only on a terminal or to who asks for JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import segno

from gateway.cli.display import show_facts, show_json
from gateway.cli.invocation import examples, json_option
from gateway.cli.secret_input import code_of, code_option, password_of, password_option, secret_of, with_code
from gateway.client import people
from gateway.client.people import People
from gateway.client.session import Session
from gateway.errors import OptionError
from gateway.wire import RecoveryCodes, TotpSecret

_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "burst totp", "burst totp enrol", "burst totp codes", "burst totp remove", "burst totp recover URL"
    ),
)
@json_option
@click.pass_context
def totp(context: click.Context, as_json: bool) -> None:
    """Say what your logins need: an authenticator app's code beside the password, or not."""
    if context.invoked_subcommand is not None:
        return
    with Session.saved() as session:
        found = People(session).factors()
    if as_json:
        show_json(found)
        return
    show_facts(
        [
            ("Authenticator app", "enrolled" if found.totp else "none; burst totp enrol"),
            ("Recovery codes", f"{found.recovery_codes} left" if found.totp else ""),
            ("Remembered devices", str(found.devices) if found.totp else ""),
        ]
    )


@totp.command(epilog=examples("burst totp enrol", "burst totp enrol --begin --json", "burst totp enrol --code-file -"))
@click.option("--begin", is_flag=True, help="Only print the secret, for an app that is filled by a program.")
@password_option
@code_option
@json_option
def enrol(*, begin: bool, password_file: Path | None, code_file: Path | None, as_json: bool) -> None:
    """Enrol an authenticator app: scan the QR code, then give the first code that the app shows.

    From then on each login needs a code. With --begin the secret is printed as JSON and the command ends; the same
    command with --code-file and without --begin then confirms it. Ten recovery codes are printed: keep them on paper.
    """
    with Session.saved() as session:
        mine = People(session)
        if begin or code_file is None:
            _show_secret(mine.begin_totp(password_of(password_file, session.profile.user)), as_json=begin and as_json)
        if begin:
            return
        _show_codes(mine.confirm_totp(code_of(code_file)), as_json=as_json)


@totp.command(epilog=examples("burst totp remove"))
@password_option
@code_option
@json_option
def remove(*, password_file: Path | None, code_file: Path | None, as_json: bool) -> None:
    """Remove the authenticator app; needs the password and a code. Remembered devices are forgotten too."""
    with Session.saved() as session:
        present = password_of(password_file, session.profile.user)
        with_code(lambda code: People(session).remove_totp(present, code), code_file)
    _say({"removed": True}, "Your logins need no code any more.", as_json=as_json)


@totp.command(epilog=examples("burst totp codes", "burst totp codes --json > codes.json"))
@password_option
@code_option
@json_option
def codes(*, password_file: Path | None, code_file: Path | None, as_json: bool) -> None:
    """Make ten new recovery codes; those before are void."""
    with Session.saved() as session:
        present = password_of(password_file, session.profile.user)
        found = with_code(lambda code: People(session).new_recovery_codes(present, code), code_file)
    _show_codes(found, as_json=as_json)


@totp.command(epilog=examples("burst totp recover https://burst.lab.example --user ada"))
@click.argument("url")
@click.option("-u", "--user", required=True, help="Your name at the gateway.")
@password_option
@click.option("--recovery-code-file", type=_FILE, help="Read the recovery code from this file; - is stdin.")
@json_option
def recover(url: str, *, user: str, password_file: Path | None, recovery_code_file: Path | None, as_json: bool) -> None:
    """Remove a lost authenticator app with your password and a recovery code; all your logins end."""
    present = password_of(password_file, user)
    people.recover(url, user, present, secret_of(recovery_code_file, "Recovery code", "--recovery-code-file"))
    _say({"recovered": True}, f"Log in by your password, then enrol a new app: burst login {url}", as_json=as_json)


def _show_secret(found: TotpSecret, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    if not sys.stderr.isatty():
        hint = "run it on a terminal, or burst totp enrol --begin --json"
        raise OptionError("the secret is shown on a terminal only", hint=hint, exit_code=2)
    click.echo("Scan this with an authenticator app:\n", err=True)
    segno.make(found.uri, micro=False).terminal(out=sys.stderr, compact=True, border=2)
    click.echo(f"\nor type it in: {found.secret}\n               {found.uri}\n", err=True)


def _show_codes(found: RecoveryCodes, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    click.echo("Recovery codes, each good once. Keep them on paper; they are not shown again.", err=True)
    for code in found.codes:
        click.echo(code)


def _say(facts: dict[str, bool], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(facts) if as_json else text)
