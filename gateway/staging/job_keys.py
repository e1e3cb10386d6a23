"""Job keys: the port to a store that gives a running job keys of its own, and the record of what it was given.

Invariant: a record is kept before the store is asked, and is only closed when the store has confirmed that no key of
that attempt opens anything any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from gateway.errors import Refused

OBJECTS: Final = "objects/"
"""Below an attempt's prefix, where a job puts objects by itself; the rest of the prefix is the gateway's to write."""
MOST_READS: Final = 20
"""More inputs than this are named by their user's folder: a token has at most 8,192 characters."""


@dataclass(frozen=True)
class SessionKeys:
    """Keys of a store's session, as any AWS SDK takes them; they expire at ``expires_at`` (UTC) at the latest."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True)
class Narrowed:
    """A part of an attempt's data for a narrower credential: keys, each with all below it; ``name`` is its ``jti``."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


class KeyIssuer(Protocol):
    """A store that has roles. Every method may raise StoreUnavailable (a retry can help) or StoreError."""

    def issue(self, prefix: str, reads: Sequence[str], seconds: int, narrowed: Narrowed | None = None) -> SessionKeys:
        """Keys for the attempt with this store prefix: its objects, and to read the keys or folders ``reads``.

        With ``narrowed`` they are for that part of it, and are withdrawn by themselves.
        """

    def withdraw(self, role: str) -> None:
        """All keys of a record's ``role`` are dead when this returns; none having been issued is no error."""


@dataclass(frozen=True)
class KeyRecord:
    """An attempt (``label`` of ``job``) that was given keys; ``ended_at`` from when on it is given no more.

    Of a narrowed credential the label is ATTEMPT#JTI, and ``chain`` names those that it came from.
    """

    job: str
    label: str
    opened_at: datetime
    ended_at: datetime | None = None
    withdrawn_at: datetime | None = None
    chain: str = ""

    @property
    def attempt(self) -> str:
        """The attempt's own label."""
        return self.label.partition("#")[0]

    @property
    def role(self) -> str:
        """What the store's role is named after."""
        return self.prefix + self.label.removeprefix(self.attempt)

    def of_credential(self, jti: str, attempt: str, *, narrowed: bool) -> bool:
        """Whether these keys end with that credential; with an attempt's own, all of the attempt's do."""
        if not narrowed:
            return self.attempt == attempt
        return self.label == f"{attempt}#{jti}" or jti in self.chain.split()

    @property
    def prefix(self) -> str:
        """As ``Attempt.prefix``."""
        return f"jobs/{self.job}/{self.attempt}/"


class KeyRecords(Protocol):
    """The stored records."""

    def open(self, job: str, label: str, now: datetime, chain: str = "") -> bool:
        """Record that keys are about to be issued; False when the attempt's time for that is over."""

    def end(self, job: str, label: str, now: datetime) -> None:
        """Issue no more keys to the attempt."""

    def close(self, job: str, label: str, now: datetime) -> None:
        """The store has withdrawn them."""

    def get(self, job: str, label: str) -> KeyRecord | None:
        """The record of an attempt, if it ever asked for keys."""

    def of(self, job: str) -> tuple[KeyRecord, ...]:
        """All of a job's records, closed ones included."""

    def not_withdrawn(self) -> tuple[KeyRecord, ...]:
        """Those of which keys may still be alive."""


def policy(bucket: str, prefix: str, reads: Sequence[str]) -> str:
    """What an attempt may do in ``bucket``, as a policy in compact JSON (Ceph 16 cannot read one with blanks).

    It reads and writes below its own objects/, and reads ``reads``: keys, or folders that end in a slash.
    """
    objects = f"arn:aws:s3:::{bucket}/{prefix}{OBJECTS}*"
    folders = [f"{prefix}*", *(f"{read}*" for read in reads if read.startswith("jobs/") and read.endswith("/"))]
    sources = [f"arn:aws:s3:::{bucket}/{read}{'*' if read.endswith('/') else ''}" for read in (prefix, *reads)]
    statements: list[dict[str, Any]] = [
        _allow(["s3:GetObject"], sources),
        _allow(["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"], [objects]),
        {
            **_allow(["s3:ListBucket"], [f"arn:aws:s3:::{bucket}"]),
            "Condition": {"StringLike": {"s3:prefix": folders}},
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def narrowed_policy(bucket: str, prefix: str, narrowed: Narrowed) -> str:
    """What a narrower credential may do: read ``reads`` and list them, write what of ``writes`` is among objects/.

    Raises Refused when that is nothing.
    """
    arn = f"arn:aws:s3:::{bucket}"
    objects = prefix + OBJECTS.rstrip("/")
    writes = [folder if _holds(objects, folder) else objects for folder in narrowed.writes if _meet(objects, folder)]
    listed = [f"{folder}/*" for folder in narrowed.reads if folder.startswith("jobs/")]
    statements: list[dict[str, Any]] = []
    if narrowed.reads:
        statements.append(_allow(["s3:GetObject"], _trees(arn, narrowed.reads)))
    if writes:
        actions = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        statements.append(_allow(actions, _trees(arn, writes)))
    if listed:
        statements.append({**_allow(["s3:ListBucket"], [arn]), "Condition": {"StringLike": {"s3:prefix": listed}}})
    if not statements:
        raise Refused("This credential opens nothing in the store.", hint="ask for storage.read or storage.create")
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _trees(arn: str, folders: Sequence[str]) -> list[str]:
    return [f"{arn}/{folder}{end}" for folder in folders for end in ("", "/*")]


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _meet(one: str, other: str) -> bool:
    return _holds(one, other) or _holds(other, one)


def readable(user: str, keys: Sequence[str], prefixes: Sequence[str]) -> tuple[str, ...]:
    """Absolute paths for a credential's scopes: the inputs ``keys``, and the prefixes of attempts depended on.

    Many inputs are named by the user's folder: it cannot be listed, and its keys are digests, so who knows the key of
    an input knows the input.
    """
    distinct = list(dict.fromkeys(keys))
    inputs = distinct if len(distinct) <= MOST_READS else [f"inputs/{user}/"]
    folders = list(dict.fromkeys(prefixes))[:MOST_READS]
    return tuple(f"/{path}" for path in (*inputs, *folders))


def _allow(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
