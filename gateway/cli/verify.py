"""burst verify.

Invariant: a file is verified without any gateway, against keys that were met at a login or are named on the command.
"""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.connection import connected
from gateway.cli.display import show_facts
from gateway.cli.invocation import examples, json_option
from gateway.client import known_gateways
from gateway.client import profile as profiles
from gateway.client.money import in_credits
from gateway.client.proof import Verified, verify_proof
from gateway.errors import BadProof, NotAllowed, NotFound
from gateway.identity.succession import fingerprint as fingerprint_of


@click.command(
    epilog=examples(
        "burst receipt 12 --evidence proof.json && burst verify proof.json",
        "burst verify 12",
        "burst verify proof.json --fingerprint SHA256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    )
)
@click.argument("receipt", metavar="RECEIPT")
@click.option("--fingerprint", multiple=True, help="A gateway key that you trust, SHA256:…, besides those met here.")
@json_option
def verify(receipt: str, *, fingerprint: tuple[str, ...], as_json: bool) -> None:
    """Verify who ordered a job, when, at what price and under which limits.

    RECEIPT is a file that `burst receipt JOB --evidence FILE` wrote, which needs no gateway, or the id of a job of
    yours. The gateway's key must be one that was met when you logged in here, or be given with --fingerprint.
    """
    content = _content(receipt)
    try:
        audience = str(json.loads(content)["audience"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadProof(f"{receipt} is no proof", hint="burst receipt JOB --evidence FILE writes one") from None
    found = verify_proof(content, [*fingerprint, *_met(audience)])
    if as_json:
        click.echo(json.dumps(_fields(found), indent=2))
    else:
        _tell(found)


def _content(receipt: str) -> bytes:
    path = Path(receipt)
    if path.is_file():
        return path.read_bytes()
    try:
        with connected() as gateway:
            return gateway.proof(receipt)
    except NotFound as error:
        raise NotFound(f"{receipt} is no file; {error.detail}", hint=error.hint or "burst jobs") from None


def _met(audience: str) -> list[str]:
    """Fingerprints of the keys of that gateway that this user met: at any login, or at the present one."""
    keys = list(known_gateways.keys_of(audience))
    with contextlib.suppress(NotAllowed):
        present = profiles.load(profiles.profile_path())
        keys += present.gateway_keys if present.audience == audience else []
    return [fingerprint_of(key) for key in keys]


def _tell(found: Verified) -> None:
    bill, order = found.receipt, _order(found.body)
    who = f"{found.ordered_by}'s Slurm, for its user" if found.by_site else found.ordered_by
    what = f"job {found.job or bill['job']}" + (f" ({order['script_name']})" if "script_name" in order else "")
    limit = "no limit of its own" if found.limit_ucr is None else f"at most {in_credits(found.limit_ucr)}"
    click.echo(f"{who} ordered {what} on {_utc(found.ordered_at)}, allowing {limit}.")
    click.echo(f"{in_credits(bill['held_ucr'])} were held and {in_credits(bill['charged_ucr'])} charged.\n")
    until = "" if found.certified_until is None else f", good until {_utc(found.certified_until)}"
    show_facts(
        [
            ("Order", f"{found.method} {found.path}, {len(found.body)} bytes, signed and unaltered"),
            ("Signed by", f"a key of {found.ordered_by}, certified by the gateway{until}"),
            ("Options", " ".join(map(str, order.get("options", ())))),
            ("Account", str(bill["account"])),
            ("Receipt", f"{bill['number']}, settled {bill['settled_at']}"),
            ("Gateway", found.audience),
            ("Key", found.key),
        ]
    )
    click.echo("\nAll of it holds.")


def _utc(when: datetime) -> str:
    """Not the reader's clock: what is proved is read in other places and years."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _fields(found: Verified) -> dict[str, Any]:
    return {
        "holds": True,
        "ordered_by": found.ordered_by,
        "by_site": found.by_site,
        "ordered_at": found.ordered_at.isoformat(),
        "limit_ucr": found.limit_ucr,
        "job": found.job,
        "audience": found.audience,
        "key": found.key,
        "request": {"method": found.method, "path": found.path, "body": found.body.decode(errors="replace")},
        "receipt": found.receipt,
    }


def _order(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
