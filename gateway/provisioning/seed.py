"""Seed: what cloud-init of a virtual machine fetches over HTTP (NoCloud), below an address that nobody can guess.

Invariant: the address is a random number that is in no log, no command line and no listing; it answers for minutes
after the machine was made, and its one secret, the join token, is good once anyway.
"""

from __future__ import annotations

import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.provisioning.instance import Instance, Instances
from gateway.provisioning.user_data import JOIN_FILE, file_in

SEED_PATH = "/seed/"
"""Of the gateway's HTTP API."""

ANSWERS_FOR = timedelta(minutes=15)
_FILES = ("meta-data", "user-data", "vendor-data", "network-config")
_ADDRESS = "seed-address"


def make_address(instance: Instance) -> None:
    """Give a new machine's seed its address."""
    path = instance.folder / _ADDRESS
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(32))


def url_of(instance: Instance) -> str:
    """Where its cloud-init finds it: at the gateway that its user-data invites to. Raises ValueError."""
    invitation = json.loads(file_in(instance.user_data.read_text(), JOIN_FILE))
    return f"{invitation['gateway_url'].rstrip('/')}{SEED_PATH}{(instance.folder / _ADDRESS).read_text()}/"


def read(folder: Path, address: str, name: str) -> bytes | None:
    """A file of the seed at ``address``, of a machine below ``folder``; None if there is none, or not any more."""
    if name not in _FILES:
        return None
    for instance in Instances(folder):
        known = _address(instance)
        if known and hmac.compare_digest(known.encode(), address.encode()):
            return _content(instance, name)
    return None


def _content(instance: Instance, name: str) -> bytes | None:
    if instance.ending or datetime.now(UTC) - instance.created_at > ANSWERS_FOR:
        return None
    try:
        return (instance.folder / "seed" / name).read_bytes()
    except FileNotFoundError:
        # cloud-init asks for all of them; those that say nothing may be empty.
        return b""


def _address(instance: Instance) -> str:
    try:
        return (instance.folder / _ADDRESS).read_text()
    except FileNotFoundError:
        return ""
