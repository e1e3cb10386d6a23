"""Transfer: files to and from the store by presigned URLs, straight past the gateway.

Invariant: a file is at its place only whole and with the digest that its manifest gives it, and never outside the
destination, whatever the manifest says and whatever links lie there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx2

from gateway.errors import ChecksumMismatch, StoreError, StoreUnavailable

BLOCK = 1 << 20
TRIES = 4

Progress = Callable[[int], object]
"""Called with the number of bytes that have moved since the last call."""
Get = Callable[[str], AbstractContextManager[Iterable[bytes]]]
"""Opens a URL and gives its content in blocks. Raises StoreUnavailable or StoreError."""


class RemoteFile(Protocol):
    """A file to fetch, such as ``wire.OutputFile``."""

    @property
    def path(self) -> str:
        """Where it goes, below the destination."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def sha256(self) -> str:
        """Lower-case hex."""

    @property
    def task(self) -> int | None:
        """The task of an array that made it."""

    @property
    def url(self) -> str:
        """Presigned."""


@dataclass(frozen=True)
class Fetched:
    """What a fetch did: ``skipped`` files were there already, with the right digest."""

    fetched: int = 0
    skipped: int = 0
    bytes: int = 0


def fetch(
    files: Iterable[RemoteFile], destination: Path, get: Get | None = None, *, progress: Progress | None = None
) -> Fetched:
    """Download files below ``destination``; those that are there with the right digest are not fetched again.

    Where tasks of an array made different files of one path, each is put below task-N/ instead. Raises StoreError for
    a path that would leave the destination, ChecksumMismatch for content that is not what the manifest says,
    StoreUnavailable when a file could not be had in several tries.
    """
    if get is None:
        with httpx2.Client(timeout=60) as client:
            return fetch(files, destination, http_get(client), progress=progress)
    done = Fetched()
    destination.mkdir(parents=True, exist_ok=True)
    for path, file in _placed(list(files)):
        with _folder(destination, path) as (folder, name):
            if _is_there(folder, name, file):
                done = replace(done, skipped=done.skipped + 1)
            else:
                _fetch_one(folder, name, file, get, progress or _silent)
                done = replace(done, fetched=done.fetched + 1, bytes=done.bytes + file.size)
    return done


def put_file(url: str, path: Path, *, client: httpx2.Client | None = None, progress: Progress | None = None) -> None:
    """Upload a file to a presigned URL. Raises StoreUnavailable after several tries, StoreError when it is refused."""
    if client is None:
        with httpx2.Client(timeout=60) as own:
            put_file(url, path, client=own, progress=progress)
            return
    for last in (*[False] * (TRIES - 1), True):
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                # With a length: a presigned PUT takes no chunked body.
                blocks = _told(_blocks(file, size), progress or _silent)
                with _translated(url):
                    _check(client.put(url, content=blocks, headers={"Content-Length": str(size)}))
        except StoreUnavailable:
            if last:
                raise
        else:
            return


def http_get(client: httpx2.Client) -> Get:
    """A ``Get`` over HTTP."""

    @contextmanager
    def get(url: str) -> Iterator[Iterable[bytes]]:
        with _translated(url), client.stream("GET", url) as response:
            _check(response)
            yield response.iter_raw(BLOCK)

    return get


def _placed(files: list[RemoteFile]) -> Iterator[tuple[str, RemoteFile]]:
    """Each file's place; tasks that disagree on a path get folders of their own."""
    digests: dict[str, set[str]] = defaultdict(set)
    for file in files:
        digests[file.path].add(file.sha256)
    for file in files:
        contested = len(digests[file.path]) > 1 and file.task is not None
        yield (f"task-{file.task}/{file.path}" if contested else file.path), file


@contextmanager
def _folder(destination: Path, path: str) -> Iterator[tuple[int, str]]:
    """The folder that ``path`` is in, made and opened step by step so that no link is followed, and the file's name."""
    *folders, name = path.split("/")
    if "\0" in path or any(part in {"", ".", ".."} for part in (*folders, name)):
        raise StoreError(f"{path!r} would leave {destination}; it was not fetched", hint="tell the job's owner")
    folder = os.open(destination, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=folder)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder, name
    except (NotADirectoryError, IsADirectoryError) as error:
        hint = "remove it, or fetch into an empty folder (--to)"
        raise StoreError(f"{path!r}: a link or another kind of file is in its way", hint=hint) from error
    finally:
        os.close(folder)


def _is_there(folder: int, name: str, file: RemoteFile) -> bool:
    try:
        found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return False
    with os.fdopen(found, "rb") as content:
        if os.fstat(found).st_size != file.size:
            return False
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _fetch_one(folder: int, name: str, file: RemoteFile, get: Get, progress: Progress) -> None:
    temporary = f".{secrets.token_hex(8)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, 0o666, dir_fd=folder), "wb") as content:
            _download(content, file, get, progress)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _download(content: BinaryIO, file: RemoteFile, get: Get, progress: Progress) -> None:
    """Fill ``content``; again when the connection breaks or what comes is not what the manifest says."""
    for last in (*[False] * (TRIES - 1), True):
        content.seek(0)
        content.truncate()
        digest = hashlib.sha256()
        try:
            with get(file.url) as blocks:
                for block in blocks:
                    digest.update(block)
                    content.write(block)
                    progress(len(block))
        except StoreUnavailable:
            if last:
                raise
            continue
        if digest.hexdigest() == file.sha256:
            return
    raise ChecksumMismatch(
        f"{file.path!r} is not what the job left: its SHA-256 is {digest.hexdigest()}, not {file.sha256}",
        hint="fetch again; if it stays so, the store's copy is damaged",
    )


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes."""
    while size:
        block = file.read(min(size, BLOCK))
        if not block:
            raise StoreError(f"{file.name} became shorter while it was sent", hint="try again when it is complete")
        size -= len(block)
        yield block


def _told(blocks: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for block in blocks:
        yield block
        progress(len(block))


def _silent(_moved: int) -> None:
    return


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.TransportError as error:
        # Never the URL's query: it is a credential.
        where = httpx2.URL(url).copy_with(query=None)
        hint = "see that the store can be reached from here, then try again"
        raise StoreUnavailable(f"no answer from {where}: {error or type(error).__name__}", hint=hint) from error


def _check(response: httpx2.Response) -> None:
    if response.is_success:
        return
    where = response.request.url.copy_with(query=None)
    what = f"{response.request.method} {where} was answered with {response.status_code}"
    if response.is_server_error:
        raise StoreUnavailable(what, hint="try again")
    raise StoreError(what, hint="the URL may have expired: ask for it again")
