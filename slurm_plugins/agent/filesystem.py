"""What the agent does to files: as the job's user where they are the job's, whole or not at all where they are its own.

Invariant: the agent's own rights never open a path that a job could have made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


class FileTrouble(Exception):
    """One file of a job cannot be staged."""


@dataclass(frozen=True)
class Job:
    """A job as slurmd tells it: Slurm's id, and whom it runs as."""

    id: int
    uid: int
    gid: int


@contextlib.contextmanager
def opened(path: Path, job: Job) -> Iterator[BinaryIO]:
    """A regular file of the job, opened as its user, without following a link or waiting for a FIFO's writer."""
    with trouble("not opened"), acting_as(job):
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileTrouble("not a regular file")
        yield file


@contextlib.contextmanager
def acting_as(job: Job) -> Iterator[None]:
    """Have no more rights than the job's user: effective ids of the whole process (credentials(7))."""
    if os.geteuid() != 0 or job.uid == 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([job.gid])
    os.setegid(job.gid)
    os.seteuid(job.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@contextlib.contextmanager
def trouble(what: str) -> Iterator[None]:
    """Turn the system's errors into FileTrouble."""
    try:
        yield
    except OSError as error:
        raise FileTrouble(f"{what}: {error.strerror}") from error


def write_privately(path: Path, content: str | bytes, mode: int = 0o600, owner: tuple[int, int] = (-1, -1)) -> None:
    """Write a file whole or not at all, readable by its owner only."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        os.fchown(file.fileno(), *owner)
        file.write(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def remove_tree(tree: Path) -> None:
    """Remove a folder and all below it, if it is there, whatever rights its owner took from himself."""
    if os.geteuid() != 0:
        for folder, names, _ in os.walk(tree):
            for path in (Path(folder, name) for name in names):
                if not path.is_symlink():
                    path.chmod(0o700)
    if tree.exists():
        shutil.rmtree(tree)
