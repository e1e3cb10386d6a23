"""burst share JOB: rules about a job's files, and links to them.

Invariant: the secret of a link is printed once, or written to a file that only its owner reads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click

from gateway.cli.connection import connected
from gateway.cli.display import moment, show_json, show_table
from gateway.cli.invocation import examples, job_and_path, json_option
from gateway.client.gateway import Gateway
from gateway.errors import OptionError
from gateway.wire import LinkView, NewLink, ShareRequest, ShareView

_RULE_COLUMNS = ("Path", "Who", "May", "May not", "Set by", "When")
_LINK_COLUMNS = ("Link", "Job", "Path", "Made", "Until")
_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_RIGHTS = ("owner", "readable", "writeable", "executable")

who_options = (
    click.option("--with", "user", metavar="USER", help="A user of this gateway."),
    click.option("--group", metavar="GROUP", help="Whoever is in the group when they ask."),
    click.option("--everyone", is_flag=True, help="Everyone who has logged in."),
)


@click.command(
    epilog=examples(
        "burst share 12 --with bob",
        "burst share 12:results --group lab",
        "burst share 12 --with eve --deny",
        "burst share 12 --with carol --own",
        "burst share 12:results/final.csv --link --expires 2d --save link.txt",
        "burst share 12 --list",
    )
)
@click.argument("target", metavar="JOB[:PATH]")
@who_options[0]
@who_options[1]
@who_options[2]
@click.option("--read", "level", flag_value="read", default="read", help="They may read and fetch. [default]")
@click.option("--own", "level", flag_value="own", help="They may also share it further and take rules away.")
@click.option("--deny", "level", flag_value="deny", help="They may not, whatever their groups may.")
@click.option("--write", "level", flag_value="write", hidden=True)
@click.option("--link", is_flag=True, help="A link for whoever has it, shown once.")
@click.option(
    "--expires", default="1d", show_default=True, metavar="TIME", help="Of a link: 30m, 12h, 7d; at most 30d."
)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the link to a file of mode 0600.")
@click.option("--list", "listing", is_flag=True, help="Show the rules and the links.")
@json_option
def job(target: str, level: str, *, listing: bool, as_json: bool, **asked: object) -> None:
    """Let others read the files of a job, or of the file or folder PATH below them."""
    name, path = job_and_path(target)
    subject = subject_of(asked["user"], asked["group"], asked["everyone"])
    if [bool(subject), bool(asked["link"]), listing].count(True) != 1:
        raise click.UsageError("Say one of --with USER, --group GROUP, --everyone, --link and --list")
    with connected() as gateway:
        if subject:
            _show_rule(gateway.shares.share(name, _rule(level, subject, path)), as_json=as_json)
        elif listing:
            _show_shares(gateway, name, as_json=as_json)
        else:
            made = gateway.shares.link(name, path, seconds(str(asked["expires"])))
            _show_link(made, asked["save"], as_json=as_json)


@click.command("links", epilog=examples("burst share links", "burst unshare --link 4f7a0c12d9e3b586"))
@json_option
def links(as_json: bool) -> None:
    """Show the links that you made; an administrator sees everybody's."""
    with connected() as gateway:
        found = gateway.shares.links()
    if as_json:
        show_json(found)
    else:
        show_table(_LINK_COLUMNS, map(_link_row, found))


@click.command("with-me", epilog=examples("burst share with-me", "burst fetch 12"))
@json_option
def with_me(as_json: bool) -> None:
    """Show what others share with you; burst fetch gets it."""
    with connected() as gateway:
        found = gateway.shares.given()
    if as_json:
        show_json(found)
        return
    rows = ((str(one.job or one.burst_id), one.path or "all", one.by, one.subject) for one in found)
    show_table(("Job", "Path", "From", "As"), rows)


def subject_of(user: object, group: object, everyone: object) -> str | None:
    """Whom a rule is about; None where nobody was named. Raises OptionError for more than one."""
    named = [text for text in (user and f"user:{user}", group and f"group:{group}", everyone and "everyone") if text]
    if len(named) > 1:
        raise OptionError("a rule is about one user, group or everyone", exit_code=2, hint="call burst share for each")
    return str(named[0]) if named else None


def seconds(text: str) -> int:
    """A length of time such as 30m, 12h or 7d. Raises OptionError."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", text)
    if match is None or (length := int(match[1]) * _SECONDS[match[2]]) > 30 * _SECONDS["d"]:
        hint = "30m, 12h or 7d; at most 30d"
        raise OptionError(
            f"{text!r} is no time that a link may be good for", option="--expires", exit_code=2, hint=hint
        )
    return length


def _rule(level: str, subject: str, path: str) -> ShareRequest:
    match level:
        case "own":
            return ShareRequest(subject=subject, path=path, **dict.fromkeys(_RIGHTS, True))
        case "deny":
            return ShareRequest(subject=subject, path=path, combination="min", **dict.fromkeys(_RIGHTS, False))
        case "write":
            detail = "the files that a job left are sealed by its manifest, so nobody may write them"
            raise OptionError(detail, option="--write", exit_code=2, hint="--read lets them read and fetch")
    return ShareRequest(subject=subject, path=path, owner=False, readable=True, writeable=False)


def _show_rule(rule: ShareView, *, as_json: bool) -> None:
    if as_json:
        show_json(rule)
    else:
        show_table(_RULE_COLUMNS, [_rule_row(rule)])


def _show_shares(gateway: Gateway, name: str, *, as_json: bool) -> None:
    rules = gateway.shares.rules(name)
    made = [link for link in gateway.shares.links() if name in {str(link.job), link.burst_id}]
    if as_json:
        show_json([*rules, *made])
        return
    show_table(_RULE_COLUMNS, map(_rule_row, rules))
    click.echo()
    show_table(_LINK_COLUMNS, map(_link_row, made))


def _show_link(made: NewLink, save: object, *, as_json: bool) -> None:
    if isinstance(save, Path):
        # Made for its owner alone before anything is in it.
        with os.fdopen(os.open(save, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(made.url + "\n")
    if as_json:
        show_json(made.link if save else made)
    elif save:
        click.echo(f"Link {made.link.id}, good until {moment(made.link.expires_at)}, is in {save}.")
    else:
        click.echo(f"Link {made.link.id}, good until {moment(made.link.expires_at)}. It is shown this once:", err=True)
        click.echo(made.url)


def _rule_row(rule: ShareView) -> tuple[str, ...]:
    said = {answer: ", ".join(_that(rule, answer)) for answer in (True, False)}
    return rule.path or "all", rule.subject, said[True], said[False], rule.by, moment(rule.at)


def _that(rule: ShareView, answer: bool) -> Iterator[str]:
    words = {"owner": "own", "readable": "read", "writeable": "write", "executable": "execute"}
    return (words[right] for right in _RIGHTS if getattr(rule, right) is answer)


def _link_row(link: LinkView) -> tuple[str, ...]:
    until = f"taken back {moment(link.revoked_at)}" if link.revoked_at else moment(link.expires_at)
    return link.id, str(link.job or link.burst_id), link.path or "all", moment(link.made_at), until
