"""burst register, burst password.

Invariant: a password is read from a terminal without echo, from a file or from stdin, and kept nowhere.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.cli.display import show_json
from gateway.cli.invocation import examples, json_option
from gateway.cli.secret_input import (
    code_option,
    new_password,
    new_password_option,
    password_of,
    password_option,
    secret_of,
    with_code,
)
from gateway.client import people
from gateway.client.people import People
from gateway.client.session import Session

_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.command(
    epilog=examples(
        "burst register https://burst.lab.example --user ada",
        "burst register https://burst.lab.example --user ada --invitation-file code.txt",
        "burst register https://burst.lab.example --user ada --open",
    )
)
@click.argument("url")
@click.option("-u", "--user", required=True, help="The name that you were invited by, or that you choose.")
@click.option("--invitation-file", type=_FILE, help="Read the invitation's code from this file; - is stdin.")
@click.option("--open", "without", is_flag=True, help="Without an invitation, where the gateway lets everybody in.")
@new_password_option
@json_option
def register(
    url: str,
    *,
    user: str,
    invitation_file: Path | None,
    without: bool,
    new_password_file: Path | None,
    as_json: bool,
) -> None:
    """Become a user of the gateway at URL with the one-time code of an administrator's invitation.

    The same for a code that an administrator gave you to choose a new password.
    """
    code = None if without else secret_of(invitation_file, "Invitation", "--invitation-file")
    found = people.register(url, user, new_password(new_password_file), code)
    if as_json:
        show_json(found)
    else:
        click.echo(f"{found.user} may log in now: burst login {url} --user {found.user}")


@click.command(epilog=examples("burst password", "burst password --password-file old --new-password-file new"))
@password_option
@code_option
@new_password_option
@json_option
def password(
    *, password_file: Path | None, code_file: Path | None, new_password_file: Path | None, as_json: bool
) -> None:
    """Change your password; all your other logins end."""
    with Session.saved() as session:
        present = password_of(password_file, session.profile.user)
        chosen = new_password(new_password_file)
        with_code(lambda code: People(session).change_password(present, code, chosen), code_file)
    click.echo(json.dumps({"changed": True}) if as_json else "The password is changed; your other logins have ended.")
