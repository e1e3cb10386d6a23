"""SealedFile: a secret in a file of mode 0600 that is of no use without the sealing key.

Invariant: the file holds the whole secret or is not there; a secret that lies open where it should be sealed is not
used. Without a sealer the file is plain: for tests, and for tools that bring their own protection.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import SetupError
from gateway.identity.sealing import MARK, Sealer

_OTHERS: Final = 0o077


@dataclass(frozen=True)
class SealedFile:
    """One file; its purpose is its name, so that one file's content is of no use in another's place."""

    path: Path
    sealer: Sealer | None

    def read(self) -> bytes:
        """The secret. Raises SetupError: not there, open to others, not sealed, or sealed with another key."""
        return self._open(read_privately(self.path))

    def keep(self, make: Callable[[], bytes]) -> bytes:
        """The secret; what ``make`` gives is written first if there is none yet. Who comes second gets the first's."""
        if not self.path.exists():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_privately(self.path, self.closed(make()))
        return self.read()

    def write(self, secret: bytes) -> None:
        """Replace the secret: afterwards the file has the old one or the new one, whatever happens."""
        write_privately(self.path, self.closed(secret))

    def stamp(self) -> tuple[int, int, int]:
        """What differs when the file was replaced: inode, time of change in ns, size in bytes."""
        status = self.path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size

    def closed(self, secret: bytes) -> bytes:
        """The content of the file with this secret."""
        return secret if self.sealer is None else self.sealer.seal(secret, self._purpose).encode()

    @property
    def _purpose(self) -> str:
        return f"file {self.path.name}"

    def _open(self, content: bytes) -> bytes:
        sealed = is_sealed(content)
        if self.sealer is not None and sealed:
            return self.sealer.open(content.decode(), self._purpose)
        if self.sealer is None and not sealed:
            return content
        problem = "is sealed, and no sealing key was given" if sealed else "is not sealed"
        raise SetupError(f"{self.path} {problem}.", hint="burst keys rotate sealing seals what is in the directory")


def is_sealed(content: bytes) -> bool:
    """Whether a file's content is a sealed text."""
    return content.startswith(MARK.encode())


def read_privately(path: Path, others: int = _OTHERS) -> bytes:
    """The content of a file that others may not read; ``others``: the mode bits that it must not have.

    Raises SetupError.
    """
    try:
        if path.stat().st_mode & others:
            raise SetupError(f"Others can read the secret in {path}.", hint=f"chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise SetupError(
            f"{path} cannot be read: {error.strerror}.", hint="restore it from a backup, or run as its owner"
        ) from error


def write_privately(path: Path, content: bytes) -> None:
    """Replace a file of mode 0600 whole, on the disk when this returns; root leaves it to the owner that it had."""
    temporary = _written(path, content)
    if os.geteuid() == 0 and path.exists():
        status = path.stat()
        os.chown(temporary, status.st_uid, status.st_gid)
    temporary.replace(path)
    _sync(path.parent)


def create_privately(path: Path, content: bytes) -> None:
    """Make the file unless another process was first."""
    temporary = _written(path, content)
    try:
        os.link(temporary, path)  # unlike a rename, it fails when another process was first
    except FileExistsError:
        return
    finally:
        temporary.unlink()
    _sync(path.parent)


def forget_torn(path: Path) -> None:
    """Remove what processes that were killed while they wrote the file have left beside it."""
    for left in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 16}"):
        left.unlink(missing_ok=True)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold the folder against every other process that changes its secrets by reading them first. Not to be nested."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _written(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
