"""Verified: an object's bytes, believed only when all of them are what the manifest says.

Invariant: who reads to the end without an error has read the very bytes that were staged out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from gateway.errors import ChecksumMismatch
from gateway.staging.manifest import Entry
from gateway.staging.object_store import ObjectStore


def pieces(store: ObjectStore, prefix: str, entry: Entry) -> Iterator[bytes]:
    """The object of ``entry`` below ``prefix``, piece by piece. Raises ChecksumMismatch after the last, NotFound."""
    digest, size = hashlib.sha256(), 0
    for piece in store.stream(prefix + entry.key):
        digest.update(piece)
        size += len(piece)
        yield piece
    if (digest.hexdigest(), size) != (entry.sha256, entry.size):
        raise ChecksumMismatch(f"{entry.path} in the store is not what was staged out.", hint="fetch says which differ")
