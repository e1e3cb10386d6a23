"""burst users: what administrators do with users.

Invariant: a one-time code is printed once, for the person that it is for; nobody's password is ever seen here.
"""

from __future__ import annotations

import click

from gateway.cli.display import moment, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.money import from_credits
from gateway.client.people import People
from gateway.client.session import Session
from gateway.wire import InvitationRequest, InvitationView, UserView

_COLUMNS = ("User", "Role", "Account", "Code", ">Devices", "Groups", "State")
_role = click.option("--role", type=click.Choice(["user", "admin"]), default="user", show_default=True)
_group = click.option("--group", help="A group that they are to be in.")
_credits = click.option("--credits", "opening", metavar="CREDITS", help="What their account starts with.")
_hours = click.option("--hours", type=click.IntRange(1, 720), default=72, show_default=True, help="The code's life.")


@click.group(
    invoke_without_command=True,
    epilog=examples("burst users", "burst users invite ada --credits 50", "burst users role ada admin"),
)
@json_option
@click.pass_context
def users(context: click.Context, as_json: bool) -> None:
    """List the users (administrators only)."""
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


@users.command("list", epilog=examples("burst users list", "burst users list --json"))
@json_option
def list_users(as_json: bool) -> None:
    """List the users: role, account, whether a code is needed, groups."""
    _list(as_json=as_json)


@users.command(epilog=examples("burst users invite ada grace", "burst users invite ada --group lab --credits 50"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_role
@_group
@_credits
@_hours
@json_option
def invite(
    names: tuple[str, ...],
    *,
    role: str,
    group: str | None,
    opening: str | None,
    hours: int,
    as_json: bool,
) -> None:
    """Make a one-time code for each NAME, with which they become a user: burst register URL --user NAME."""
    _invite(names, {"role": role, "group": group, "hours": hours}, opening, as_json=as_json)


@users.command(epilog=examples("burst users add ada", "burst users add ada --role admin"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_role
@_group
@_credits
@_hours
@json_option
def add(
    names: tuple[str, ...],
    *,
    role: str,
    group: str | None,
    opening: str | None,
    hours: int,
    as_json: bool,
) -> None:
    """Make users now, and a one-time code for each with which they choose their password."""
    _invite(names, {"role": role, "group": group, "hours": hours, "add": True}, opening, as_json=as_json)


@users.command(epilog=examples("burst users role ada admin", "burst users role ada user"))
@click.argument("name")
@click.argument("role", type=click.Choice(["user", "admin"]))
@json_option
def role(name: str, role: str, as_json: bool) -> None:
    """Make NAME an administrator, or one no more; somebody must stay one."""
    with Session.saved() as session:
        _show(People(session).set_role(name, role), as_json=as_json)


@users.command(epilog=examples("burst users disable ada"))
@click.argument("name")
@json_option
def disable(name: str, as_json: bool) -> None:
    """Shut NAME out and end their logins. Their jobs go on; burst cancel ends them."""
    with Session.saved() as session:
        _show(People(session).disable(name), as_json=as_json)


@users.command(epilog=examples("burst users enable ada"))
@click.argument("name")
@json_option
def enable(name: str, as_json: bool) -> None:
    """Let NAME in again."""
    with Session.saved() as session:
        _show(People(session).enable(name), as_json=as_json)


@users.command(epilog=examples("burst users reset ada", "burst users reset ada --password"))
@click.argument("name")
@click.option("--password", is_flag=True, help="Also make a one-time code with which they choose a new password.")
@json_option
def reset(name: str, password: bool, as_json: bool) -> None:
    """Remove the second factor of NAME, who has lost it, and end their logins."""
    with Session.saved() as session:
        found = People(session).reset(name, password=password)
    if as_json:
        show_json(found)
        return
    click.echo(f"{name} needs no code any more.", err=True)
    if found.code and found.expires_at:
        _tell(InvitationView(user=name, code=found.code, expires_at=found.expires_at))


def _list(*, as_json: bool) -> None:
    with Session.saved() as session:
        found = People(session).users()
    if as_json:
        show_json(found)
    else:
        show_table(_COLUMNS, [_row(one) for one in found])


def _invite(names: tuple[str, ...], facts: dict[str, object], credits_text: str | None, *, as_json: bool) -> None:
    amount = from_credits(credits_text) if credits_text else 0
    with Session.saved() as session:
        mine = People(session)
        made = [
            mine.invite(InvitationRequest.model_validate({**facts, "user": name, "credits_ucr": amount}))
            for name in names
        ]
    if as_json:
        show_json(made)
        return
    for one in made:
        _tell(one)


def _tell(made: InvitationView) -> None:
    click.echo(f"Code for {made.user}, good once, until {moment(made.expires_at)}:", err=True)
    click.echo(made.code)


def _show(found: UserView, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        show_table(_COLUMNS, [_row(found)])


def _row(one: UserView) -> tuple[str, ...]:
    code, state = "needed" if one.totp else "no", "disabled" if one.disabled else "active"
    return one.user, one.role, one.account, code, str(one.devices), " ".join(one.groups), state
