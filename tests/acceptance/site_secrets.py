"""What is secret in a site that runs, with the places where each secret belongs; each value is the real one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from gateway_site import Site
from secret_scan import Secret

from gateway.bootstrap.rings import credential_keys, signing_keys
from gateway.bootstrap.sealing_key import keeper
from gateway.identity.key_ring import KeyRing
from gateway.identity.sealing import key_id
from gateway.identity.site_key import new_key
from gateway.ssh.authority import Authority

IN_THE_CLEAR = {"secrets/munge.key", "secrets/jwt.key", "secrets/store.json"}
"""Keys that programs of others read (docs/security.md, "Secrets at rest")."""

# A node has the cluster's key, and what it checks the gateway's word with, for as long as it exists.
_ON_NODES = ("cloud/*/identity.json", "cloud/*/munge.key")
# cloud-init keeps what it was given, for root of the node.
_CLOUD_INIT = "cloud/*/var/lib/cloud/instances/*"
_PRIVATE = {"secret", "key", "d", "private_key", "session_key", "voucher_key"}


def sealed_secrets(site: Site) -> Iterator[Secret]:
    """Private keys of the gateway, which belong nowhere in the clear; an SSH authority and a site's key are added."""
    machine = site.machine
    keep, secrets = keeper(machine.sealer), machine.settings.secrets_dir
    for name, ring in (("signing", signing_keys), ("credentials", credential_keys)):
        yield _private(f"{name} key", ring(machine.settings, machine.sealer))
    yield Secret("site key", machine.secret)
    jwk = json.loads(keep(secrets / "site-jobs.jwk", new_key))
    yield Secret("key of a site's jobs", _decoded(jwk["d"]))
    authority = Authority.kept(secrets / "ssh-ca.key", site.directory / "ssh-ca.pub", keep)
    yield Secret("SSH authority", authority._key.private_bytes_raw())
    yield Secret("SSH authority of nodes", machine.node_authority._key.private_bytes_raw())
    with site.work() as work:
        if factor := work.factors.totp("demo"):
            yield Secret("authenticator app's secret", factor.secret(machine.sealer))


def open_secrets(site: Site) -> Iterator[Secret]:
    """Secrets that lie in a file of their own, for their owner or for a program of others."""
    folder = site.directory
    for key in site.machine.sealer._keys():
        yield Secret(f"sealing key {key_id(key)}", key, ("secrets/sealing.key",))
    if (witness := folder / "run/shared-files").exists():  # not with nodes that share nothing
        yield Secret("witness", witness.read_bytes(), ("run/shared-files",))
    for name in ("admin", "demo"):
        file = f"secrets/{name}.password"
        yield Secret(f"password of {name}", (folder / file).read_bytes().strip(), (file,))
    yield Secret("munge key", (folder / "secrets/munge.key").read_bytes(), ("secrets/munge.key", *_ON_NODES))
    yield Secret("Slurm's JWT key", (folder / "secrets/jwt.key").read_bytes(), ("secrets/jwt.key",))
    store = json.loads((folder / "secrets/store.json").read_text())
    yield Secret("key of the store", store["secret_key"].encode(), ("secrets/store.json",))
    for profile in folder.glob("clients/*/profiles/*.json"):
        place = str(profile.relative_to(folder))
        yield Secret(f"session key in {place}", _decoded(json.loads(profile.read_text())["key"]["d"]), (place,))


def passing_secrets(site: Site) -> Iterator[Secret]:
    """Of the nodes and jobs that there are now: gone with them."""
    for path in _files(site, "user-data"):
        name, text = str(path.relative_to(site.directory)), path.read_text()
        yield Secret(
            f"join token in {name}",
            _member(text, "token").encode(),
            ("cloud/*/user-data", "cloud/*/join.json", _CLOUD_INIT),
        )
    for path in _files(site, "identity.json"):
        facts, name = json.loads(path.read_text()), str(path.relative_to(site.directory))
        for member, value in _strings(facts):
            if member in _PRIVATE:
                yield Secret(f"{member} in {name}", _decoded(value), _ON_NODES)
    for path in _files(site, "node.key"):
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        yield Secret(
            f"key of a node in {path.relative_to(site.directory)}", key.private_bytes_raw(), ("cloud/*/node.key",)
        )
    for path in [*site.directory.glob("jobs/*/token"), *_files(site, "token")]:
        # The signature is what makes a token one; that of a token is found in it wherever it stands.
        signature = path.read_text().strip().rpartition(".")[2]
        home = ("jobs/*/token", "cloud/*/token", "cloud/*/jobs/*/plan")
        yield Secret(f"credential in {path.relative_to(site.directory)}", _decoded(signature), home)


def _files(site: Site, name: str) -> list[Path]:
    return [path for path in (site.directory / "cloud").rglob(name) if path.is_file() and not path.is_symlink()]


def _private(name: str, ring: KeyRing) -> Secret:
    key = ring.current
    return Secret(f"{name} {key.kid[:8]}", _decoded(str(key.key.as_dict(private=True)["d"])))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _member(text: str, name: str) -> str:
    """Of the JSON document that stands, as a JSON string, in a text."""
    return text.partition(f'\\"{name}\\": \\"')[2].partition('\\"')[0]


def _strings(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _strings(value)
        elif isinstance(value, str):
            yield name, value
