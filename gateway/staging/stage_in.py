"""Stage in: a job's inputs, found in the store before it is queued and handed to its nodes when they start it.

Invariant: an input is named by its owner and its digest, so equal files travel once and nobody reaches another's; what
a node gets it checks against that digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from gateway.errors import InputMissing, InvalidRequest
from gateway.jobs.job import StageIn
from gateway.jobs.store import Part
from gateway.staging.manifest import check_path, merge
from gateway.staging.object_store import ObjectStore
from gateway.wire import SHA256, InputView, Upload, UploadRequest

UPLOAD_S = 3600
"""How long a user may begin an upload; one that has begun may take longer."""
INPUT_S = 86400
"""How long a node may begin to fetch an input: longer than any prolog may take."""

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def input_key(user: str, sha256: str) -> str:
    """The key of an input. Raises InvalidRequest for what cannot be one."""
    if not _USER.fullmatch(user) or not re.fullmatch(SHA256, sha256):
        raise InvalidRequest("that is no user or no SHA-256 digest", hint="send the digest as 64 lower-case hex digits")
    return f"inputs/{user}/{sha256}"


def upload(store: ObjectStore, user: str, wanted: UploadRequest) -> Upload:
    """Where ``user`` is to PUT a file; no URL when the store has it already."""
    key = input_key(user, wanted.sha256)
    have = _has(store, key, wanted.size)
    return Upload(key=key, url=None if have else store.presign_put(key, UPLOAD_S, "user"))


def keyed(user: str, inputs: Iterable[StageIn]) -> tuple[StageIn, ...]:
    """``user``'s inputs with the keys under which they were uploaded."""
    return tuple(replace(each, key=input_key(user, each.sha256)) for each in inputs)


def check(store: ObjectStore, inputs: Iterable[StageIn]) -> None:
    """See that each of the ``keyed`` inputs is in the store, and that no two have one destination.

    Raises InputMissing, with the script's line, for one that is not, and InvalidRequest for a destination outside the
    working directory.
    """
    destinations: set[str] = set()
    for wanted in inputs:
        destination = check_path(wanted.destination)
        if destination in destinations:
            raise _missing(wanted, f"two inputs would be {destination}", "name another destination: SOURCE:DESTINATION")
        destinations.add(destination)
        if wanted.key is None or not _has(store, wanted.key, wanted.size):
            raise _missing(wanted, f"{wanted.source} was not uploaded", "see that the file is there, then submit again")


def for_attempt(store: ObjectStore, inputs: Iterable[StageIn]) -> tuple[InputView, ...]:
    """What a node fetches before the job starts: its inputs, and after them the outputs of jobs that it depends on.

    Where two have one destination the first has it; the other, unless it is the same, is found below
    from/SOURCE/, such as "from/job 12/".
    """
    parts = (
        Part(
            each.source.replace("/", "_"),
            ({"path": check_path(each.destination), "key": each.key, "size": each.size, "sha256": each.sha256},),
            (),
        )
        for each in inputs
    )
    return tuple(
        InputView(
            destination=entry.path,
            size=entry.size,
            sha256=entry.sha256,
            url=store.presign_get(entry.key, INPUT_S, "node"),
        )
        for entry in merge(parts, folder="from").entries
    )


def _has(store: ObjectStore, key: str, size: int) -> bool:
    there = store.head(key)
    return there is not None and there.size == size


def _missing(wanted: StageIn, detail: str, hint: str) -> InputMissing:
    field = None if wanted.line is None else f"script:{wanted.line}"
    where = "" if wanted.line is None else f"line {wanted.line}: "
    return InputMissing(where + detail, hint=hint, field=field)
