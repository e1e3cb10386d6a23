"""burst sessions: list, end.

Invariant: a login is ended by a request that another login signed, or that very one; never without a signature.
"""

from __future__ import annotations

from urllib.parse import quote

import click

from gateway.cli.display import ago, moment, show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.cli.scopes import said
from gateway.client import profile as profiles
from gateway.client.session import Session
from gateway.errors import OptionError
from gateway.wire import SessionsEnded, SessionView

_COLUMNS = ("ID", "Computer", "By", "Address", "Since", "Used", "Until", "May")
_user_option = click.option("--user", help="Of this user; for administrators.")


@click.group(
    invoke_without_command=True,
    epilog=examples("burst sessions", "burst sessions end ID", "burst sessions end --others", "burst sessions list"),
)
@_user_option
@json_option
@click.pass_context
def sessions(context: click.Context, user: str | None, as_json: bool) -> None:
    """List your logins; end them."""
    if context.invoked_subcommand is None:
        _list(user, as_json=as_json)


@sessions.command("list", epilog=examples("burst sessions list", "burst sessions list --user ada --json"))
@_user_option
@json_option
def list_(user: str | None, as_json: bool) -> None:
    """List the logins that can sign now; * marks this one."""
    _list(user, as_json=as_json)


@sessions.command(epilog=examples("burst sessions end Vq3…", "burst sessions end --others", "burst sessions end --all"))
@click.argument("name", metavar="[ID]", required=False)
@click.option("--others", is_flag=True, help="End all of your logins but this one.")
@click.option("--all", "everything", is_flag=True, help="End all of your logins, this one too.")
@json_option
def end(name: str | None, *, others: bool, everything: bool, as_json: bool) -> None:
    """End a login at once: what it signs from now on is refused, what it signed before stays valid."""
    if [bool(name), others, everything].count(True) != 1:
        raise OptionError("say which", option="ID", hint="an ID, --others or --all", exit_code=2)
    with Session.saved() as session:
        ended = _ended(session, name, others=others)
        own = everything or name == session.profile.session
    if own:
        profiles.remove(profiles.profile_path())
    if as_json:
        show_json(ended)
    else:
        click.echo(f"Ended {ended.ended} login{'' if ended.ended == 1 else 's'}.")


def _ended(session: Session, name: str | None, *, others: bool) -> SessionsEnded:
    if name is not None:
        session.request("DELETE", f"/sessions/{quote(name, safe='')}")
        return SessionsEnded(ended=1)
    answer = session.request("DELETE", "/sessions?others=true" if others else "/sessions")
    return SessionsEnded.model_validate_json(answer.content)


def _list(user: str | None, *, as_json: bool) -> None:
    with Session.saved() as session:
        found = session.get("/sessions", list[SessionView], user=user)
    if as_json:
        show_json(found)
    else:
        show_table(_COLUMNS, [_row(one) for one in found])


def _row(one: SessionView) -> tuple[str, ...]:
    name = f"{one.id}{' *' if one.current else ''}"
    times = (moment(one.since), ago(one.used_at), moment(one.expires_at))
    return (name, one.host, one.how, one.address, *times, said(one.scopes))
