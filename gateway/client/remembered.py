"""Remembered: the key with which this device stands in for a code, kept beside the profiles.

Invariant: the file can be read by its owner only and holds no password, code or shared secret: the key alone lets
nobody in, because the password is asked for each time.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from joserfc.jwk import OKPKey

from gateway import wire
from gateway.client import profile as profiles
from gateway.identity.keys import make_key, public_jwk, thumbprint


@dataclass(frozen=True, repr=False)
class Remembered:
    """A device's key (private JWK, RFC 8037) for one user of one gateway; ``audience`` is the gateway's own name."""

    url: str
    user: str
    audience: str
    key: dict[str, str]

    @property
    def device(self) -> OKPKey:
        """The key itself."""
        return OKPKey.import_key(dict(self.key))

    @property
    def id(self) -> str:
        """What the gateway lists it by."""
        return thumbprint(self.device)


def asked(key: OKPKey) -> wire.Remember:
    """What a login asks the gateway to remember."""
    return wire.Remember(public_key=public_jwk(key), name=socket.gethostname() or "unknown")


def new_key() -> OKPKey:
    """A new key for this device."""
    return make_key()


def load(url: str, user: str, name: str | None = None) -> Remembered | None:
    """What the profile ``name`` remembers for this user there; None for anything else."""
    try:
        kept = Remembered(**json.loads(_path(name).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return kept if (kept.url, kept.user) == (url.rstrip("/"), user) else None


def save(session: wire.Session, url: str, key: OKPKey, name: str | None = None) -> None:
    """Keep a key that the gateway now knows."""
    private = {member: str(key.as_dict(private=True)[member]) for member in ("kty", "crv", "x", "d")}
    kept = Remembered(url.rstrip("/"), session.user, session.audience, private)
    profiles.write_private(_path(name), json.dumps(asdict(kept), indent=2))


def forget(name: str | None = None) -> None:
    """Remove what the profile remembers; nothing to remove is no error."""
    _path(name).unlink(missing_ok=True)


def _path(name: str | None) -> Path:
    profile = profiles.profile_path(name)
    return profile.parent.parent / "devices" / profile.name
