"""Stage out: what a job's nodes put into the store, checked there, and the manifest that makes it an outcome.

Invariant: the manifest is written last, so an attempt with a manifest is complete; written again from the same parts
it is the same, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from gateway.errors import InvalidRequest, NotFound, Refused
from gateway.jobs.job import Attempt
from gateway.jobs.store import Part
from gateway.staging.job_keys import OBJECTS
from gateway.staging.manifest import Manifest, check_path, merge
from gateway.staging.object_store import ObjectStore
from gateway.wire import ManifestEntry

PUT_S = 3600
"""How long a node may begin an upload; it asks for a new URL after that."""
MANIFEST = "manifest.json"
LIVE = "live/stdout"
"""What a running job has printed so far, or the end of it."""
CREATE = "storage.create"
"""The capability's name in the WLCG profile."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOLD = 20


class Grant(Protocol):
    """What a job's credential allows: to ``attempt`` (NUMBER or NUMBER-TASK) of ``job``, on ``node``."""

    @property
    def job(self) -> str:
        """The gateway's own id."""

    @property
    def attempt(self) -> str:
        """The last part of the store prefix."""

    @property
    def node(self) -> str:
        """Where the job, or this part of it, runs."""

    def permits(self, capability: str, path: str | None = None) -> bool:
        """Whether it may do that to the object of this key behind a slash."""


def presign(store: ObjectStore, grant: Grant, paths: Sequence[str]) -> tuple[str, ...]:
    """One PUT URL a path below the attempt's prefix, in order. Raises Refused for what is not this node's to write."""
    prefix = f"jobs/{grant.job}/{grant.attempt}/"
    for path in paths:
        if not (path == LIVE or owned(path, grant.node)) or not grant.permits(CREATE, f"/{prefix}{path}"):
            may = f"files/{grant.node}/, odd/{grant.node}/ and {LIVE}"
            raise Refused(f"this job may not write {path!r}", hint=f"its credential is good for {may}")
    return tuple(store.presign_put(prefix + path, PUT_S, "node") for path in paths)


def owned(key: str, node: str) -> bool:
    """Whether a key below an attempt's prefix is ``node``'s.

    It is files/NODE/PATH, or odd/NODE/DIGEST with the SHA-256 of a path that makes no good key.
    """
    try:
        kind, owner, rest = check_path(key).split("/", 2)
    except ValueError:
        return False
    except InvalidRequest:
        return False
    return owner == node and (kind == "files" or (kind == "odd" and _DIGEST.fullmatch(rest) is not None))


def accept(
    store: ObjectStore, attempt: Attempt, node: str, files: Iterable[ManifestEntry], errors: Iterable[str] = ()
) -> Part:
    """A node's part of the manifest, once every file of it is in the store with the size that was said.

    Raises InvalidRequest with the list of those that are not, or for a path or key that a node cannot have.
    """
    checked = _checked(files, node)
    sizes = _sizes(store, attempt, node, [file.key for file in checked])
    absent = [file.path for file in checked if sizes.get(file.key) != file.size]
    if absent:
        more = f" and {len(absent) - _TOLD} more" if len(absent) > _TOLD else ""
        raise InvalidRequest(
            f"not in the store with that size: {', '.join(map(repr, absent[:_TOLD]))}{more}",
            hint="upload them again, then report again",
            field="files",
        )
    return Part(node, tuple(file.model_dump() for file in checked), tuple(errors))


def put_by_the_job(store: ObjectStore, attempt: Attempt) -> Part:
    """What a job put below objects/ by itself: a part of its manifest like a node's, its digests taken here."""
    files: list[dict[str, object]] = []
    errors: list[str] = []
    for key, info in store.list(attempt.prefix + OBJECTS):
        path = key.removeprefix(attempt.prefix + OBJECTS)
        try:
            entry = {"path": check_path(path), "key": OBJECTS + path, "size": info.size, "sha256": store.sha256(key)}
        except InvalidRequest as error:
            errors.append(f"{path!r}: {error.detail}")
        else:
            files.append(entry)
    return Part(OBJECTS.rstrip("/"), tuple(files), tuple(errors))


def merged(attempt: Attempt, parts: Iterable[Part]) -> Manifest:
    """The attempt's manifest from its nodes' parts.

    The leader's come first, which is the first of Slurm's node list; a node that is not in it comes last, by name.
    """
    order = {node: place for place, node in enumerate(attempt.nodes)}
    return merge(sorted(parts, key=lambda part: (order.get(part.node, len(order)), part.node)))


def complete(store: ObjectStore, attempt: Attempt, parts: Iterable[Part]) -> Manifest:
    """Write the attempt's manifest, which says that it is complete, and return it."""
    manifest = merged(attempt, parts)
    store.put_bytes(attempt.prefix + MANIFEST, manifest.json, "application/json")
    return manifest


def live_output(store: ObjectStore, attempt: Attempt) -> bytes:
    """What a running job has printed so far, at least its end; nothing before its first words."""
    try:
        return store.get_bytes(attempt.prefix + LIVE)
    except NotFound:
        return b""


def _checked(files: Iterable[ManifestEntry], node: str) -> list[ManifestEntry]:
    """The files, no two of one path or key, each with a path that a user can be given and a key of that node."""
    checked: dict[str, ManifestEntry] = {}
    keys: set[str] = set()
    for file in files:
        if not owned(file.key, node):
            raise InvalidRequest(f"{file.key!r} is no key of {node}", hint="name keys as presigned", field="files")
        if check_path(file.path) in checked or file.key in keys:
            raise InvalidRequest(f"{file.path!r} is named twice", hint="report each file once", field="files")
        checked[file.path] = file
        keys.add(file.key)
    return list(checked.values())


def _sizes(store: ObjectStore, attempt: Attempt, node: str, keys: Collection[str]) -> dict[str, int]:
    """Sizes of the node's objects by key; two listings are cheaper than a question for each of a thousand files."""
    sizes: dict[str, int] = {}
    for folder in ("files", "odd"):
        if any(key.startswith(f"{folder}/") for key in keys):
            listed = store.list(f"{attempt.prefix}{folder}/{node}/")
            sizes |= {key.removeprefix(attempt.prefix): info.size for key, info in listed}
    return sizes
