"""Profile: a login as it is kept between commands, with the session's private key.

Invariant: the file can be read by its owner only, from its first byte on, and is always replaced whole.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from platformdirs import user_config_dir

from gateway.errors import InvalidRequest, NotAllowed, SetupError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Profile:
    """One login: where, as whom, until when, and the key (private JWK, RFC 8037) that signs its requests."""

    url: str
    session: str
    audience: str
    user: str
    expires_at: datetime
    key: dict[str, str]
    key_file: str | None = None
    """Of a service principal: where its registered key is, with which the client logs in again by itself."""
    scopes: tuple[str, ...] = ()
    """What it asked for; empty: all that it may have."""
    gateway_keys: list[dict[str, str]] = field(default_factory=list)
    """The gateway's public keys, newest first: its answers must be signed with the first."""

    def __repr__(self) -> str:
        return f"Profile(url={self.url!r}, user={self.user!r}, expires_at={self.expires_at.isoformat()!r})"

    def expired(self, now: datetime) -> bool:
        """Whether the gateway no longer takes its signatures."""
        return now >= self.expires_at


def profile_path(name: str | None = None) -> Path:
    """Where the profile ``name`` is kept: below BURST_CONFIG, or the user's configuration directory.

    Without a name it is BURST_PROFILE's, else "default". Raises InvalidRequest for a name that is no file name.
    """
    chosen = name or os.environ.get("BURST_PROFILE") or "default"
    if not _NAME.fullmatch(chosen):
        raise InvalidRequest(f"{chosen!r} is not a profile name", hint="use letters, digits, dots and dashes")
    return config_dir() / "profiles" / f"{chosen}.json"


def load(path: Path) -> Profile:
    """Read a profile. Raises NotAllowed when there is none, SetupError when it cannot be read."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise NotAllowed("you are not logged in", hint="burst login URL") from None
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}", hint="give the file back to its owner, or remove it") from None
    return _decode(text, path)


def save(profile: Profile, path: Path) -> None:
    """Write a profile, readable by its owner only."""
    fields: dict[str, Any] = {**asdict(profile), "expires_at": profile.expires_at.astimezone(UTC).isoformat()}
    write_private(path, json.dumps(fields, indent=2))


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that its owner alone can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp makes the file 0600 before anything is in it.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".profile-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Forget a profile; one that is not there is no error."""
    path.unlink(missing_ok=True)


def config_dir() -> Path:
    """Where what commands keep is kept: BURST_CONFIG, or the user's configuration directory."""
    chosen = os.environ.get("BURST_CONFIG")
    return Path(chosen) if chosen else Path(user_config_dir("burst-gateway"))


def _decode(text: str, path: Path) -> Profile:
    try:
        fields = json.loads(text)
        expires_at, scopes = datetime.fromisoformat(fields["expires_at"]), tuple(fields.get("scopes", ()))
        return Profile(**{**fields, "expires_at": expires_at, "scopes": scopes})
    except (ValueError, TypeError, KeyError):
        raise SetupError(f"{path} is not a profile", hint="log in again: burst login URL") from None
