"""burst principals: list, new-key, add, add-key, remove-key, remove.

Invariant: a private key is written to a file of mode 0600 and nowhere else; what is sent is its public half.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import click

from gateway.cli.connection import connected
from gateway.cli.display import ago, moment, show_facts, show_json, show_table
from gateway.cli.invocation import examples, json_option, scope_option
from gateway.cli.scopes import said
from gateway.client import principal as principal_client
from gateway.errors import OptionError
from gateway.identity.scopes import read_scopes
from gateway.wire import PrincipalKeyRequest, PrincipalRequest, PrincipalView
from gateway.wire.sessions import NAME

_name = click.argument("name")
_public_key = click.option(
    "--public-key",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file that `burst principals new-key FILE` wrote beside the key: FILE.pub.",
)


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "burst principals new-key robot.key",
        "burst principals add climate-robot --project climate --scope jobs:write --public-key robot.key.pub",
        "burst login --key-file robot.key --user climate-robot https://burst.lab.example",
        "burst principals",
    ),
)
@json_option
@click.pass_context
def principals(context: click.Context, as_json: bool) -> None:
    """Manage service principals: programs of a project or of the site, which log in by a key of their own."""
    if context.invoked_subcommand is not None:
        return
    with connected() as gateway:
        found = gateway.session.get("/principals", list[PrincipalView])
    if as_json:
        show_json(found)
    else:
        rows = [(one.name, one.project or "", one.account, str(len(one.keys)), said(one.scopes)) for one in found]
        show_table(("Name", "Project", "Account", ">Keys", "May"), rows)


@principals.command("new-key", epilog=examples("burst principals new-key robot.key"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def new_key(file: Path, as_json: bool) -> None:
    """Make a key in FILE, readable by you only, and its public half in FILE.pub."""
    jwk = principal_client.make_key_file(file)
    public = file.with_name(f"{file.name}.pub")
    public.write_text(json.dumps(jwk) + "\n")
    if as_json:
        click.echo(json.dumps({"key_file": str(file), "public_key": jwk}, indent=2))
    else:
        click.echo(f"{file} is the key and stays here; register {public}.")


@principals.command(
    epilog=examples(
        "burst principals add climate-robot --project climate --scope jobs:write --public-key robot.key.pub",
        "burst principals add backup --scope storage:read --public-key backup.key.pub",
    )
)
@_name
@click.option("--project", help="The project that it belongs to and that pays. [default: the site; admins only]")
@scope_option
@_public_key
@json_option
def add(name: str, project: str | None, scope: tuple[str, ...], public_key: Path, as_json: bool) -> None:
    """Add the principal NAME; the leaders of its project may, and administrators."""
    if not scope:
        raise OptionError("no --scope was given", option="--scope", hint="say what it may do", exit_code=2)
    read_scopes(scope)
    if not re.fullmatch(NAME, name):
        hint = "2 to 32 lower-case letters, digits and dashes, a letter first"
        raise OptionError(f"{name!r} is no name for a principal", option="NAME", hint=hint, exit_code=2)
    body = PrincipalRequest(name=name, project=project, scopes=scope, public_key=_read(public_key))
    with connected() as gateway:
        _show(gateway.session.post("/principals", body, PrincipalView, safe=False), as_json=as_json)


@principals.command("add-key", epilog=examples("burst principals add-key climate-robot --public-key next.key.pub"))
@_name
@_public_key
@json_option
def add_key(name: str, public_key: Path, as_json: bool) -> None:
    """Register a further key of NAME; when it is in use, remove the old one."""
    body = PrincipalKeyRequest(public_key=_read(public_key))
    with connected() as gateway:
        path = f"/principals/{quote(name, safe='')}/keys"
        _show(gateway.session.post(path, body, PrincipalView, safe=False), as_json=as_json)


@principals.command("remove-key", epilog=examples("burst principals remove-key climate-robot Vq3…"))
@_name
@click.argument("key")
@json_option
def remove_key(name: str, key: str, as_json: bool) -> None:
    """End a key of NAME for ever, and the sessions that it began."""
    _remove(f"/principals/{quote(name, safe='')}/keys/{quote(key, safe='')}", as_json=as_json)


@principals.command(epilog=examples("burst principals remove climate-robot"))
@_name
@json_option
def remove(name: str, as_json: bool) -> None:
    """End the principal NAME, its keys and its sessions; its jobs go on."""
    _remove(f"/principals/{quote(name, safe='')}", as_json=as_json)


def _remove(path: str, *, as_json: bool) -> None:
    with connected() as gateway:
        gateway.session.request("DELETE", path, safe=False)
    click.echo('{"removed": true}' if as_json else "Removed.")


def _read(file: Path) -> dict[str, str]:
    try:
        jwk = json.loads(file.read_text())
        return {name: str(jwk[name]) for name in ("kty", "crv", "x")}
    except OSError as error:
        raise OptionError(f"{file}: {error.strerror}", option="--public-key", exit_code=2) from None
    except (ValueError, KeyError, TypeError):
        hint = "burst principals new-key FILE writes FILE.pub"
        raise OptionError(f"{file} holds no public key", option="--public-key", hint=hint, exit_code=2) from None


def _show(one: PrincipalView, *, as_json: bool) -> None:
    if as_json:
        show_json(one)
        return
    keys = [(f"Key {key.id}", f"since {moment(key.since)}, used {ago(key.used_at) or 'never'}") for key in one.keys]
    facts = [("Name", one.name), ("Project", one.project or ""), ("Account", one.account), ("May", said(one.scopes))]
    show_facts([*facts, *keys])
