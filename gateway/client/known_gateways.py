"""Known gateways: the signing keys that were met at each login, kept after logging out, as known_hosts is.

Invariant: a key that was met is never replaced but by one that it vouches for, or by one whose fingerprint was given.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gateway.client.profile import config_dir
from gateway.errors import BadReply, SetupError
from gateway.identity.succession import fingerprint, lineage
from gateway.wire.proofs import GatewayKeys

Jwk = dict[str, str]


def keys_of(audience: str) -> tuple[Jwk, ...]:
    """The keys of a gateway that are trusted here, newest first; none for one that was never met."""
    return tuple(_load().get(audience, ()))


def check(published: GatewayKeys) -> None:
    """Raise BadReply when another key than today's was met, which does not vouch for today's."""
    met = keys_of(published.audience)
    if met and not vouched(met[0], published):
        now, before = fingerprint(published.keys[0]), fingerprint(met[0])
        raise BadReply(
            f"The gateway's key is {now}; it was {before}, which does not vouch for it.",
            hint=f"ask its operator; if it is right, burst login --fingerprint {now}",
        )


def vouched(pinned: Jwk, published: GatewayKeys) -> bool:
    """Whether ``pinned`` is today's key of the gateway, or leads to it."""
    today = fingerprint(published.keys[0])
    return any(fingerprint(key) == today for key in lineage(pinned, published.successions))


def remember(audience: str, keys: Sequence[Jwk]) -> None:
    """Trust ``keys``, newest first, and go on trusting those that were met before."""
    known = _load()
    met = [key for key in known.get(audience, ()) if key not in keys]
    known[audience] = [*keys, *met]
    _save(known)


def _path() -> Path:
    return config_dir() / "known_gateways"


def _load() -> dict[str, list[Jwk]]:
    path = _path()
    try:
        found = json.loads(path.read_text())
        return {str(audience): [dict(key) for key in keys] for audience, keys in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError):
        raise SetupError(f"{path} is not a list of gateways", hint="remove it, and log in again") from None


def _save(known: dict[str, list[Jwk]]) -> None:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".known-gateways-")
    with os.fdopen(handle, "w") as file:
        json.dump(known, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
