"""burst groups: groups and projects, who is in them, who leads them."""

from __future__ import annotations

import json

import click

from gateway.cli.display import show_json, show_table
from gateway.cli.invocation import examples, json_option
from gateway.client.people import People
from gateway.client.session import Session
from gateway.wire import GroupRequest, GroupView

_COLUMNS = ("Group", "Account", "Title", "Leaders", "Members")


@click.group(
    invoke_without_command=True,
    epilog=examples("burst groups", "burst groups create ice --project --leader ada", "burst groups add ice grace"),
)
@json_option
@click.pass_context
def groups(context: click.Context, as_json: bool) -> None:
    """List your groups and projects; an administrator sees all."""
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


@groups.command("list", epilog=examples("burst groups list", "burst groups list --json"))
@json_option
def list_groups(as_json: bool) -> None:
    """List your groups and projects; an administrator sees all."""
    _list(as_json=as_json)


@groups.command(epilog=examples("burst groups show ice"))
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Say who is in the group NAME."""
    with Session.saved() as session:
        _show(People(session).group(name), as_json=as_json)


@groups.command(
    epilog=examples("burst groups create ice --project --leader ada", 'burst groups create ice --title "Ice"')
)
@click.argument("name")
@click.option("--title", default="", help="What it is, in a few words.")
@click.option("--project", is_flag=True, help="With an account of its own, which its members spend from.")
@click.option("--leader", help="Who manages its members. [default: you]")
@json_option
def create(name: str, *, title: str, project: bool, leader: str | None, as_json: bool) -> None:
    """Make a group (administrators only).

    Members of a project pay from its account with a line `#BURST --account-to=NAME` or sbatch's own --account=NAME.
    """
    request = GroupRequest(group=name, title=title, project=project, leader=leader)
    with Session.saved() as session:
        _show(People(session).create_group(request), as_json=as_json)


@groups.command(epilog=examples("burst groups add ice grace", "burst groups add ice grace --leader"))
@click.argument("name")
@click.argument("user")
@click.option("--leader", is_flag=True, help="They manage its members, and its account's budget.")
@json_option
def add(name: str, user: str, *, leader: bool, as_json: bool) -> None:
    """Let USER into the group NAME, or change what they are to it (leaders and administrators)."""
    with Session.saved() as session:
        _show(People(session).put_member(name, user, leader=leader), as_json=as_json)


@groups.command(epilog=examples("burst groups remove ice grace"))
@click.argument("name")
@click.argument("user")
@json_option
def remove(name: str, user: str, as_json: bool) -> None:
    """End the place of USER in the group NAME, and with it, at once, what it gave."""
    with Session.saved() as session:
        People(session).remove_member(name, user)
    facts = {"group": name, "user": user, "removed": True}
    click.echo(json.dumps(facts) if as_json else f"{user} is not in {name} any more.")


def _list(*, as_json: bool) -> None:
    with Session.saved() as session:
        found = People(session).groups()
    if as_json:
        show_json(found)
    elif found:
        show_table(_COLUMNS, [_row(one) for one in found])
    else:
        click.echo("You are in no group.", err=True)


def _show(found: GroupView, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        show_table(_COLUMNS, [_row(found)])


def _row(one: GroupView) -> tuple[str, ...]:
    leaders, members = (
        " ".join(each.user for each in one.members if each.role == role) for role in ("leader", "member")
    )
    return one.group, one.account or "", one.title, leaders, members
