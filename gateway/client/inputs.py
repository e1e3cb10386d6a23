"""Inputs of a job: found in the script's ``#BURST --stage-in`` lines, hashed here, uploaded if the store lacks them.

Invariant: equal files travel once, and a file that changed between hashing and sending ends the submission.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway import wire
from gateway.client import transfer
from gateway.client.session import Session
from gateway.errors import InputMissing, OptionError
from gateway.intake import burst
from gateway.intake import script as script_lines


@dataclass(frozen=True)
class LocalFile:
    """A file of the user's, and what the gateway is told of it."""

    path: Path
    declared: wire.InputFile
    modified_ns: int
    """When it was last written, as of its hashing."""


def find(script: str, named: Sequence[str], directory: Path) -> tuple[LocalFile, ...]:
    """Every file that the script and ``named`` (``SOURCE[:DESTINATION]``) stage in, hashed.

    A directory stands for all files below it. Sources that are not absolute are looked up below ``directory``.
    Raises ScriptError for a malformed line, InputMissing for a source that is not a readable file or directory.
    """
    found: list[LocalFile] = []
    lines = [line for line in script_lines.directives(script) if line.magic == script_lines.BURST]
    for wanted in (*burst.read(lines).stage_in, *map(_named, named)):
        found.extend(_local_files(wanted, directory / wanted.source))
    return tuple(found)


def upload(files: Sequence[LocalFile], session: Session) -> None:
    """Put every file into the store that it lacks."""
    for file in {file.declared.sha256: file for file in files}.values():
        request = wire.UploadRequest(sha256=file.declared.sha256, size=file.declared.size)
        answer = session.post("/uploads", request, wire.Upload)
        if answer.url is not None:
            transfer.put_file(answer.url, file.path)
            _refuse_changed(file)


def _named(text: str) -> burst.Input:
    """An input from the command line, ``SOURCE[:DESTINATION]`` as in a script. Line 0: it is in no script."""
    source, colon, destination = text.rpartition(":")
    if not colon:
        source, destination = text, Path(text).name
    try:
        return burst.Input(source, burst.destination_of(destination), 0)
    except ValueError:
        raise OptionError(
            f"--stage-in={text}: {destination!r} is no path below the job's working directory",
            option="--stage-in",
            hint="use a relative path without ..",
        ) from None


def _local_files(wanted: burst.Input, path: Path) -> Iterator[LocalFile]:
    """The file at ``path``, or every file below it."""
    if not path.is_dir():
        yield _local_file(wanted, path, wanted.source, wanted.destination)
        return
    files = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    if not files:
        raise _missing(wanted, f"{path} has no files")
    for file in files:
        below = file.relative_to(path)
        yield _local_file(wanted, file, f"{wanted.source}/{below}", f"{wanted.destination}/{below}")


def _local_file(wanted: burst.Input, path: Path, source: str, destination: str) -> LocalFile:
    if not path.exists():
        raise _missing(wanted, f"{path} does not exist")
    if not path.is_file():
        # A pipe or device would be read for ever.
        raise _missing(wanted, f"{path} is no regular file")
    with path.open("rb") as file:
        modified_ns = os.fstat(file.fileno()).st_mtime_ns
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    declared = wire.InputFile(source=source, destination=destination, sha256=digest, size=size)
    return LocalFile(path, declared, modified_ns)


def _refuse_changed(file: LocalFile) -> None:
    now = file.path.stat()
    if (now.st_size, now.st_mtime_ns) != (file.declared.size, file.modified_ns):
        raise InputMissing(f"{file.path} was written to while it was sent", hint="submit again when it is complete")


def _missing(wanted: burst.Input, why: str) -> InputMissing:
    return InputMissing(
        f"--stage-in: {why}",
        hint="name a file or folder that is there; relative paths start where you submit",
        field=f"script:{wanted.line}" if wanted.line else None,
    )
