"""Keys: list and rotate what signs and seals in a gateway's directory, by who may read it, while it runs or not.

Invariant: at every moment of a rotation the directory opens with the keys that are in place, so that one that was
broken off has lost nothing and is simply begun again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.bootstrap.clock import utc_now
from gateway.bootstrap.machine import Progress, key_of_running
from gateway.bootstrap.presence import only_one
from gateway.bootstrap.rings import credential_keys, signing_keys
from gateway.bootstrap.sealing_key import FILES, KeyPlace, make_if_none, place_of, sealed_files, sealer_of, written
from gateway.errors import SetupError
from gateway.identity.audit import Act
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import algorithm
from gateway.identity.sealed_file import SealedFile, changing, forget_torn, is_sealed, read_privately, write_privately
from gateway.identity.sealing import Sealer, key_id, make_sealing_key
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.sealed import count_sealed, reseal_all
from gateway.storage.work import SqlWork

RINGS: Final = ("sealing", "signing", "credentials")
"""In the order in which all of them are rotated: the one that may be refused comes first."""


def listed(directory: Path) -> dict[str, Any]:
    """The keys by their names, nothing secret. Raises SetupError."""
    settings = _settings(directory)
    place, sealer = place_of(settings), sealer_of(settings)
    with _database(settings) as database, database.read() as connection:
        values = count_sealed(connection)
    return {
        "directory": str(settings.directory),
        "signing": _ring(signing_keys(settings, sealer)),
        "credentials": _ring(credential_keys(settings, sealer)),
        "sealing": {
            "file": str(place.path),
            "source": place.source,
            "keys": [key_id(key) for key in place.read()],
            "files": [path.name for path in sealed_files(settings)],
            "values": values,
        },
    }


def rotate(directory: Path, rings: Sequence[str], key_file: Path | None, progress: Progress) -> dict[str, Any]:
    """Make a new key for each of ``rings``, and say which. Raises SetupError."""
    settings = _settings(directory)
    made = {}
    for ring in rings:
        progress(f"rotating {ring}")
        made[ring] = _rotate_sealing(settings, key_file) if ring == "sealing" else _rotate(settings, ring)
    return {"directory": str(settings.directory), "rotated": made}


def _rotate(settings: Settings, name: str) -> dict[str, Any]:
    sealer = sealer_of(settings)
    ring = (signing_keys if name == "signing" else credential_keys)(settings, sealer)
    key = ring.rotate(utc_now())
    _tell(settings, name, f"signs with {key.kid} from now on")
    return {"key": key.kid, "until": key.not_after.isoformat()}


def _rotate_sealing(settings: Settings, key_file: Path | None) -> dict[str, Any]:
    """First a key more, then everything sealed with it, then the old ones out.

    While the gateway runs, the key of before stays, to open what it seals meanwhile; the next rotation takes it out.
    """
    place = _writable(settings, key_file)
    make_if_none(settings, place)
    with changing(settings.run_dir), _alone(settings, place) as alone:
        old = place.read()
        keys = (make_sealing_key(), *old)
        write_privately(place.path, written(keys))
        files, values = _reseal(settings, Sealer(*keys))
        write_privately(place.path, written(keys[: 1 if alone else 2]))
        forget_torn(place.path)
    _tell(settings, "sealing", f"sealed {files} files and {values} values with {key_id(keys[0])}")
    return {"key": key_id(keys[0]), "file": str(place.path), "files": files, "values": values, "keeps_last": not alone}


def _reseal(settings: Settings, sealer: Sealer) -> tuple[int, int]:
    """How many files and values of the database."""
    plain = [path for name in FILES if (path := settings.secrets_dir / name).exists()]
    files = sorted({*plain, *sealed_files(settings)})
    with changing(settings.secrets_dir):
        for path in files:
            content = read_privately(path)
            new = SealedFile(path, sealer)
            sealed = sealer.reseal(content.decode()).encode() if is_sealed(content) else new.closed(content)
            write_privately(path, sealed)
            forget_torn(path)
    with _database(settings) as database, database.begin() as connection:
        return len(files), reseal_all(connection, sealer)


def _writable(settings: Settings, key_file: Path | None) -> KeyPlace:
    if key_file is not None:
        return KeyPlace(key_file.absolute(), "--key-file")
    place = place_of(settings)
    if not place.writable:
        raise SetupError(
            "The sealing key is a credential of systemd, which nobody can write.",
            hint="stop the service, then burst keys rotate sealing --key-file with the file of its LoadCredential",
        )
    return place


@contextmanager
def _alone(settings: Settings, place: KeyPlace) -> Iterator[bool]:
    """Keep the gateway from starting meanwhile; False if it runs. Raises SetupError if it would not see the new key."""
    with ExitStack() as lock:
        try:
            lock.enter_context(only_one(settings.run_dir))
        except SetupError:
            if key_of_running(settings) != place.path:
                raise SetupError(
                    f"The gateway runs, and not with the key in {place.path} itself.",
                    hint="stop it first: systemctl stop burst-gateway",
                ) from None
            yield False
        else:
            yield True


def _tell(settings: Settings, ring: str, text: str) -> None:
    """Into the audit log."""
    now = utc_now()
    with _database(settings) as database, database.begin() as connection:
        act = Act("gateway", "keys.rotate", f"key:{ring}", f"the owner of the directory rotated: {text}")
        SqlWork(connection).audit.tell(act, now)


def _ring(ring: KeyRing) -> list[dict[str, Any]]:
    """Newest first."""
    return [
        {
            "key": key.kid,
            "algorithm": algorithm(key.key),
            "state": "retired" if key.retired else "signs",
            "from": _moment(key.created),
            "until": _moment(key.not_after),
        }
        for key in reversed(ring.keys)
    ]


def _moment(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _settings(directory: Path) -> Settings:
    settings = Settings.load(directory)
    if not (settings.secrets_dir / "signing-keys.json").exists():
        raise SetupError(f"{directory} holds no gateway yet.", hint=f"burst up --dir {directory}")
    return settings


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url)
    try:
        database.migrate()
        yield database
    finally:
        database.close()
