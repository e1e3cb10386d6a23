"""ObjectStore: the port to a bucket, and S3Store, its adapter to anything that speaks S3.

Invariant: a presigned URL is bound to the host that it names, so it is made for the audience that will use it; nobody
but the gateway holds the store's keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gateway.errors import NotFound, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Audience = Literal["user", "node"]
"""Who will use a presigned URL: users reach the store by one address, nodes by another."""

_BLOCK = 1 << 20
_BYTES = "application/octet-stream"
MAX_PRESIGN_S = 7 * 86400
"""SigV4: a presigned URL is good for seven days at most."""

_PIECE_BYTES = 1 << 18

_CONFIG = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    connect_timeout=3,
    read_timeout=60,
    max_pool_connections=32,
    retries={"mode": "standard", "total_max_attempts": 2},
    # Otherwise a presigned PUT would demand a checksum header that its user does not know of.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


@dataclass(frozen=True)
class ObjectInfo:
    """What a store knows of an object: ``size`` in bytes, its ``etag`` without quotes, when it was written (UTC)."""

    size: int
    etag: str
    modified: datetime


class ObjectStore(Protocol):
    """A bucket. Every method may raise StoreUnavailable (a retry can help) or StoreError."""

    def put_bytes(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object, whole or not at all; an older one of that key is replaced."""

    def get_bytes(self, key: str) -> bytes:
        """Read a small object. Raises NotFound."""

    def sha256(self, key: str) -> str:
        """The digest of what an object holds, read through once, however large it is. Raises NotFound."""

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object of any size, piece by piece. Raises NotFound."""

    def head(self, key: str) -> ObjectInfo | None:
        """What is known of an object; None if there is none."""

    def list(self, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Every object whose key begins with ``prefix``, all pages, by key."""

    def copy(self, key: str, target: str) -> None:
        """Make ``target`` a copy of ``key``, in the store itself. Raises NotFound."""

    def delete(self, key: str) -> None:
        """Remove an object; removing one that is not there is no error."""

    def presign_get(self, key: str, expires_s: int, audience: Audience, save_as: str | None = None) -> str:
        """A URL with which ``audience`` may GET this object for ``expires_s`` seconds; no call is made.

        With ``save_as`` a browser saves it under that name and never shows it as a page of the store's.
        """

    def presign_put(self, key: str, expires_s: int, audience: Audience) -> str:
        """A URL with which ``audience`` may PUT this object for ``expires_s`` seconds; no call is made."""


@dataclass(frozen=True)
class StoreAccess:
    """How to reach a bucket: endpoints are URLs; the keys are the gateway's own."""

    bucket: str
    user_endpoint: str | None
    """None: AWS's own, of the region."""
    node_endpoint: str | None
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"


class S3Store:
    """A bucket of an S3 server. Thread-safe: boto3's clients are, and each is made once."""

    def __init__(self, access: StoreAccess) -> None:
        self._bucket = access.bucket
        self._clients: dict[Audience, S3Client] = {
            "user": _client(access, access.user_endpoint),
            "node": _client(access, access.node_endpoint),
        }
        self._s3 = self._clients["user"]

    def create_bucket(self) -> None:
        """Make the bucket unless it is there."""
        if not self.has_bucket():
            with _translated(self._bucket):
                self._s3.create_bucket(Bucket=self._bucket)

    def has_bucket(self) -> bool:
        """Whether the bucket is there and may be read."""
        try:
            with _translated(self._bucket):
                self._s3.head_bucket(Bucket=self._bucket)
        except NotFound:
            return False
        return True

    def put_bytes(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object, whole or not at all; an older one of that key is replaced."""
        with _translated(key):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type)

    def get_bytes(self, key: str) -> bytes:
        """Read a small object. Raises NotFound."""
        with _translated(key):
            return self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def sha256(self, key: str) -> str:
        """The digest of what an object holds, read through once, however large it is. Raises NotFound."""
        digest = hashlib.sha256()
        for piece in self.stream(key):
            digest.update(piece)
        return digest.hexdigest()

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object of any size, piece by piece. Raises NotFound."""
        with _translated(key):
            yield from self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].iter_chunks(_PIECE_BYTES)

    def head(self, key: str) -> ObjectInfo | None:
        """What is known of an object; None if there is none."""
        try:
            with _translated(key):
                found = self._s3.head_object(Bucket=self._bucket, Key=key)
        except NotFound:
            return None
        return ObjectInfo(found["ContentLength"], found["ETag"].strip('"'), found["LastModified"])

    def list(self, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Every object whose key begins with ``prefix``, all pages, by key."""
        with _translated(prefix):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield found["Key"], ObjectInfo(found["Size"], found["ETag"].strip('"'), found["LastModified"])

    def copy(self, key: str, target: str) -> None:
        """Make ``target`` a copy of ``key``, in the store itself. Raises NotFound."""
        with _translated(key):
            self._s3.copy({"Bucket": self._bucket, "Key": key}, self._bucket, target)

    def delete(self, key: str) -> None:
        """Remove an object; removing one that is not there is no error."""
        with _translated(key):
            self._s3.delete_object(Bucket=self._bucket, Key=key)

    def presign_get(self, key: str, expires_s: int, audience: Audience, save_as: str | None = None) -> str:
        """A URL with which ``audience`` may GET this object for ``expires_s`` seconds; no call is made.

        With ``save_as`` a browser saves it under that name and never shows it as a page of the store's.
        """
        saved = f"attachment; filename*=UTF-8''{quote(save_as, safe='')}" if save_as else None
        return self._presign("get_object", key, expires_s, audience, saved)

    def presign_put(self, key: str, expires_s: int, audience: Audience) -> str:
        """A URL with which ``audience`` may PUT this object for ``expires_s`` seconds; no call is made."""
        return self._presign("put_object", key, expires_s, audience)

    def _presign(
        self,
        call: Literal["get_object", "put_object"],
        key: str,
        expires_s: int,
        audience: Audience,
        saved: str | None = None,
    ) -> str:
        chosen = {"ResponseContentDisposition": saved, "ResponseContentType": _BYTES} if saved else {}
        with _translated(key):
            return self._clients[audience].generate_presigned_url(
                call, Params={"Bucket": self._bucket, "Key": key, **chosen}, ExpiresIn=min(expires_s, MAX_PRESIGN_S)
            )


def _client(access: StoreAccess, endpoint: str | None) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=access.region,
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        config=_CONFIG,
    )


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Turn boto's errors into the gateway's."""
    try:
        yield
    except ClientError as error:
        raise _classified(error, key) from error
    except BotoCoreError as error:
        hint = "see that the object store runs; the gateway tries again"
        raise StoreUnavailable(f"the object store did not answer for {key}: {error}", hint=hint) from error


def _classified(error: ClientError, key: str) -> StoreError | NotFound:
    status, code = _status(error), error.response.get("Error", {}).get("Code", "")
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(f"the object store has no {key}", hint="it was never written, or it was removed")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return StoreUnavailable(f"the object store is busy: {code} for {key}", hint="the gateway tries again")
    if status == HTTPStatus.FORBIDDEN:
        return StoreError(f"the object store refuses {key}: {code}", hint="check the store's keys and the clocks")
    return StoreError(f"the object store did not do it: {code} for {key}", hint="read the store's log")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
