"""Presence: how a gateway's own process is found from its directory: its lock, its pid file, what it says when ready.

Invariant: nothing of the server is imported here, so looking for it, or ending it, costs little.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gateway.daemons import Daemon
from gateway.errors import SetupError
from gateway.settings import Settings

READY_FILE = "ready.json"
_TICK_S = 0.05


@contextmanager
def only_one(run: Path, *, within_s: float = 0.0) -> Iterator[None]:
    """Hold the directory's lock, waiting for it at most so long. Raises SetupError when another process keeps it."""
    deadline = time.monotonic() + within_s
    with (run / "gateway.lock").open("w") as lock:
        while not _locked(lock):
            if time.monotonic() >= deadline:
                raise SetupError("A gateway runs in this directory already.", hint="burst down, or use it")
            time.sleep(_TICK_S)
        yield


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def gateway_daemon(settings: Settings) -> Daemon:
    """The gateway's own process."""
    return Daemon("gateway", settings.run_dir, settings.log_dir / "gateway.log")


def password_file(settings: Settings, user: str) -> Path:
    """Where a first user's password is kept until it is changed."""
    return settings.secrets_dir / f"{user}.password"
