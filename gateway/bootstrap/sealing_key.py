"""The sealing key: where it is looked for, and what it seals below a gateway's directory.

Invariant: a new key is made only where nothing is sealed yet; with a wrong, lost or open key nothing starts, and what
is said names the file and the way out.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import SetupError
from gateway.identity.sealed_file import SealedFile, create_privately, is_sealed, read_privately
from gateway.identity.sealing import KEY_BYTES, Sealer, checked, make_sealing_key
from gateway.settings import Settings

CREDENTIAL: Final = "burst-sealing-key"
"""Its name in the unit's LoadCredential (systemd.exec(5)); systemd names the folder in CREDENTIALS_DIRECTORY."""
FILES: Final = ("signing-keys.json", "credential-keys.json", "site.key", "site-jobs.jwk", "ssh-ca.key", "node-ca.key")
"""What is always sealed in the folder of secrets."""

_OTHERS: Final = 0o077
# systemd lets the service's user in by an access control list, whose mask shows as the group's bits.
_STRANGERS: Final = 0o007

Keep = Callable[[Path, Callable[[], bytes]], bytes]
"""Gives the secret of a file, made by the second if the file is not there."""


@dataclass(frozen=True)
class KeyPlace:
    """Where the key is. ``writable``: a rotation may write there."""

    path: Path
    source: str
    writable: bool = True

    def read(self) -> tuple[bytes, ...]:
        """The keys of the file: the first seals, the others only open. Raises SetupError.

        32 raw bytes, or lines with the base64 of 32 bytes each.
        """
        content = read_privately(self.path, _OTHERS if self.writable else _STRANGERS)
        if len(content) == KEY_BYTES:
            return (content,)
        try:
            return checked(tuple(base64.b64decode(line, validate=True) for line in content.split()))
        except (binascii.Error, ValueError, SetupError) as error:
            raise SetupError(
                f"{self.path} is no sealing key.",
                hint="it holds 32 raw bytes, or their base64 (openssl rand -base64 32); restore it from a backup",
            ) from error


def place_of(settings: Settings, environment: Mapping[str, str] = os.environ) -> KeyPlace:
    """Where the key of these settings is: systemd's credential, else the setting's file, else the directory's own."""
    if folder := environment.get("CREDENTIALS_DIRECTORY"):
        credential = Path(folder, CREDENTIAL)
        if credential.exists():
            return KeyPlace(credential, "systemd credential", writable=False)
    if settings.sealing_key_file is not None:
        return KeyPlace(settings.sealing_key_file, "sealing_key_file")
    return KeyPlace(settings.secrets_dir / "sealing.key", "secrets/sealing.key")


def sealer_of(settings: Settings, environment: Mapping[str, str] = os.environ) -> Sealer:
    """What seals this directory's secrets; it takes a rotation up. The first call makes the key. Raises SetupError."""
    place = place_of(settings, environment)
    make_if_none(settings, place)
    return Sealer.of(_Watched(place))


def make_if_none(settings: Settings, place: KeyPlace) -> None:
    """Make the first key. Raises SetupError if there is none although something is sealed already."""
    if place.path.exists():
        return
    found = [path.name for path in sealed_files(settings)] or _in_database(settings)
    if found:
        raise SetupError(
            f"The sealing key is not at {place.path}, but {found[0]} is sealed with one.",
            hint="restore the key to that place, or name its file: sealing_key_file in burst.toml, or LoadCredential "
            f"{CREDENTIAL} of the service",
        )
    place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_privately(place.path, written((make_sealing_key(),)))


def written(keys: tuple[bytes, ...]) -> bytes:
    """The keys as their file holds them."""
    return b"".join(base64.b64encode(key) + b"\n" for key in keys)


def sealed_files(settings: Settings) -> list[Path]:
    """The files of the folder of secrets that are sealed."""
    if not settings.secrets_dir.exists():
        return []
    files = (path for path in sorted(settings.secrets_dir.glob("[!.]*")) if path.is_file())
    return [path for path in files if is_sealed(path.read_bytes())]


def keeper(sealer: Sealer) -> Keep:
    """Keeps secrets in sealed files."""
    return lambda path, make: SealedFile(path, sealer).keep(make)


class _Watched:
    """The keys of a file, read again when the file was replaced."""

    def __init__(self, place: KeyPlace) -> None:
        self._place = place
        self._known: tuple[tuple[int, int], tuple[bytes, ...]] | None = None

    def __call__(self) -> tuple[bytes, ...]:
        try:
            status = self._place.path.stat()
        except OSError:
            return self._known[1] if self._known else self._place.read()
        stamp, known = (status.st_ino, status.st_mtime_ns), self._known
        if known is None or known[0] != stamp:
            self._known = known = (stamp, self._place.read())
        return known[1]


def _in_database(settings: Settings) -> list[str]:
    """Asked only before a first key is made: by then there is hardly ever a database."""
    if settings.database is None and not (settings.directory / "state.db").exists():
        return []
    from gateway.storage.database import Database  # noqa: PLC0415 - half a second that most starts need not pay
    from gateway.storage.sealed import count_sealed  # noqa: PLC0415

    database = Database(settings.database_url)
    try:
        with database.read() as connection:
            number = count_sealed(connection)
    finally:
        database.close()
    return [f"a value of the database ({number} in all)"] if number else []
