"""Survey: what lies in a job's working directory, what of it is an output, and what it is called in the store.

Invariant: a name that is not plain text still has a path in the manifest and a key in the store, both its own.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from slurm_plugins.agent.filesystem import Job, acting_as
from slurm_plugins.agent.web import Json

KEY_BYTES = 700
"""S3 takes keys of 1024 bytes (UTF-8), and the job's own prefix comes before ours."""


@dataclass(frozen=True)
class File:
    """A file below the working directory: its name from there, where to open it, why it cannot be staged.

    ``path`` and ``key`` are what ``named`` calls it.
    """

    name: str
    source: Path
    stamp: list[int]
    trouble: str = ""
    path: str = ""
    key: str = ""


def survey(work: Path, job: Job) -> list[File]:
    """Everything below ``work`` that is no folder, by name. Links are followed only to files below ``work``."""
    found: list[File] = []

    def unreadable(error: OSError) -> None:
        folder = Path(error.filename)
        found.append(File(str(folder.relative_to(work)), folder, [], str(error.strerror)))

    with acting_as(job):
        for folder, folders, names in os.walk(work, onerror=unreadable):
            found += [file for name in (*names, *folders) if (file := look(Path(folder, name), work))]
    return sorted(found, key=lambda file: file.name)


def look(path: Path, work: Path) -> File | None:
    """What ``path`` is to staging; None for a folder, and for a link to one below ``work``."""
    name = str(path.relative_to(work))
    try:
        # Not Path.resolve: before Python 3.13 a loop of links made it raise no OSError.
        source = Path(os.path.realpath(path, strict=True)) if path.is_symlink() else path
        status = source.lstat()
    except OSError as error:
        return File(name, path, [], str(error.strerror))
    if source != path and not source.is_relative_to(work.resolve()):
        return File(name, path, [], "a link that leaves the working directory")
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):
        return File(name, path, [], "not a regular file")
    return File(name, source, stamp_of(status))


def stamp_of(status: os.stat_result) -> list[int]:
    """What changes when a file is written, replaced or given another date: size, mtime, inode, ctime."""
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


def named(files: Iterable[File], node: str) -> list[File]:
    r"""Give each file a path for the manifest, which is text, and a key that every object store takes.

    Bytes that are not UTF-8 become ``\xNN`` in the path.
    """
    taken: dict[str, File] = {}
    for file in files:
        raw = os.fsencode(file.name)
        digest = hashlib.sha256(raw).hexdigest()
        path = raw.decode("utf-8", "backslashreplace")
        key = f"files/{node}/{path}" if path == file.name and plain(path) else f"odd/{node}/{digest}"
        path = f"{path}.{digest[:8]}" if path in taken else path
        taken[path] = replace(file, path=path, key=key)
    return list(taken.values())


def plain(path: str) -> bool:
    """Whether a path can be part of a key as it is; rclone keeps names that begin with ".rclone_" for itself."""
    return (
        path.isprintable()
        and unicodedata.is_normalized("NFC", path)
        and len(path.encode()) <= KEY_BYTES
        and "/.rclone_" not in f"/{path}"
    )


def is_output(plan: Json, path: str) -> bool:
    """Whether a file is to be staged out: all are; or those below a named folder or matching a glob, and the output.

    A star of a glob also stands for slashes: fnmatch(3) without FNM_PATHNAME.
    """
    if not plan["stage_out"]:
        return True
    printed = (plan["environment"].get(f"BURST_{stream}", "") for stream in ("STDOUT", "STDERR"))
    globs = (*plan["stage_out"], *printed, "slurm-*.out")
    return any(fnmatch.fnmatchcase(path, glob) or path.startswith(glob.rstrip("/") + "/") for glob in globs if glob)


def is_printed(plan: Json, path: str) -> bool:
    """Whether a file is the job's stdout or stderr."""
    return path in {plan["environment"].get(f"BURST_{stream}") for stream in ("STDOUT", "STDERR")}
