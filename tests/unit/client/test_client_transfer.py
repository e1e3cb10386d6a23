"""Files to and from a real object store, and the tricks that a manifest or a folder could play."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from gateway.client.transfer import Fetched, fetch, put_file
from gateway.errors import ChecksumMismatch, StoreError, StoreUnavailable
from gateway.settings import Settings
from gateway.staging.embedded_store import EmbeddedStore
from gateway.wire import OutputFile


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    embedded = EmbeddedStore(Settings(directory=tmp_path_factory.mktemp("store")))
    embedded.start()
    yield embedded.open()
    embedded.stop()


@dataclass
class Counter:
    """A progress callback that adds up."""

    moved: int = 0

    def __call__(self, count: int) -> None:
        self.moved += count


def stored(store, path: str, content: bytes, task: int | None = None) -> OutputFile:
    digest = hashlib.sha256(content).hexdigest()
    key = f"jobs/1/0/{digest}"
    store.put_bytes(key, content)
    url = store.presign_get(key, 60, "user")
    return OutputFile(path=path, size=len(content), sha256=digest, task=task, url=url)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FILES = {"a": b"one", "deep/er/b": b"two" * 1_000_000, "empty": b"", "new\nline/größe": b"three"}


def test_fetch_writes_the_tree(store, tmp_path):
    """Every file is at its path with its content; progress counts every byte; nothing else is left."""
    progress = Counter()
    files = [stored(store, path, content) for path, content in FILES.items()]
    done = fetch(files, tmp_path / "out", progress=progress)
    assert tree(tmp_path / "out") == FILES
    assert done == Fetched(4, 0, sum(map(len, FILES.values())))
    assert progress.moved == done.bytes


def test_fetch_again_takes_only_what_is_missing_or_wrong(store, tmp_path):
    """What verifies stays as it is; what was damaged, or is of another size, or a link, is replaced."""
    files = [stored(store, path, content) for path, content in FILES.items()]
    fetch(files, tmp_path)
    kept = (tmp_path / "empty").stat().st_ino
    (tmp_path / "a").write_bytes(b"two")
    (tmp_path / "deep/er/b").write_bytes(b"short")
    elsewhere = tmp_path.parent / "elsewhere"
    elsewhere.write_bytes(b"three")
    (tmp_path / "new\nline/größe").unlink()
    (tmp_path / "new\nline/größe").symlink_to(elsewhere)
    assert fetch(files, tmp_path).fetched == 3
    assert tree(tmp_path) == FILES
    assert not (tmp_path / "new\nline/größe").is_symlink()
    assert elsewhere.read_bytes() == b"three"
    assert (tmp_path / "empty").stat().st_ino == kept
    assert fetch(files, tmp_path) == Fetched(skipped=4)


@pytest.mark.parametrize("path", ["../out", "/etc/burst-was-here", "a/../../out", "", "a//b", ".", "a/..", "nul\0"])
def test_a_path_that_would_leave_the_destination(store, tmp_path, path):
    """Nothing is written for it, anywhere."""
    with pytest.raises(StoreError):
        fetch([stored(store, path, b"x")], tmp_path / "here")
    assert tree(tmp_path) == {}
    assert not Path("/etc/burst-was-here").exists()


def test_a_link_in_the_way_is_not_followed(store, tmp_path):
    """A folder of the path that is a link is an error, and what it points to stays as it was."""
    (tmp_path / "other").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "results").symlink_to(tmp_path / "other")
    with pytest.raises(StoreError) as refusal:
        fetch([stored(store, "results/a", b"x")], tmp_path / "here")
    assert refusal.value.hint
    assert list((tmp_path / "other").iterdir()) == []


def test_a_folder_where_a_file_belongs(store, tmp_path):
    """It is said, and nothing half-done is left."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").touch()
    with pytest.raises(StoreError):
        fetch([stored(store, "a", b"x")], tmp_path)
    assert tree(tmp_path) == {"a/mine": b""}


def test_what_is_not_as_the_manifest_says(store, tmp_path):
    """Content with another digest never gets its name, and an older file of that name stays."""
    bad = stored(store, "a", b"damaged").model_copy(update={"sha256": "0" * 64})
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(ChecksumMismatch) as mismatch:
        fetch([bad], tmp_path)
    assert mismatch.value.hint
    assert tree(tmp_path) == {"a": b"mine"}


def test_tasks_that_made_one_path(store, tmp_path):
    """Equal files are one; different ones are each in their task's folder."""
    files = [
        stored(store, "same", b"x", 0),
        stored(store, "same", b"x", 1),
        stored(store, "out", b"0", 0),
        stored(store, "out", b"1", 1),
    ]
    fetch(files, tmp_path)
    assert tree(tmp_path) == {"same": b"x", "task-0/out": b"0", "task-1/out": b"1"}


def test_a_url_that_is_refused(store, tmp_path):
    """The error names the place but not the URL's query, which is a credential."""
    file = stored(store, "a", b"x")
    tampered = file.model_copy(update={"url": file.url[:-1] + ("0" if file.url[-1] != "0" else "1")})
    with pytest.raises(StoreError) as refusal:
        fetch([tampered], tmp_path)
    assert "403" in refusal.value.detail
    assert "Signature" not in refusal.value.detail
    assert tree(tmp_path) == {}


def test_a_store_that_is_away(tmp_path):
    """It is worth a retry, and says where it looked."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}/k?X-Amz-Signature=secret"
    file = OutputFile(path="a", size=1, sha256="0" * 64, task=None, url=nobody)
    (tmp_path / "mine").touch()
    for attempt in (lambda: fetch([file], tmp_path), lambda: put_file(nobody, tmp_path / "mine")):
        with pytest.raises(StoreUnavailable) as away:
            attempt()
        assert away.value.retryable
        assert "secret" not in away.value.detail


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_put_file(store, tmp_path, size):
    """The object is the file; progress counts every byte."""
    content = os.urandom(size)
    (tmp_path / "in").write_bytes(content)
    progress = Counter()
    put_file(store.presign_put(f"put/{size}", 60, "user"), tmp_path / "in", progress=progress)
    assert store.get_bytes(f"put/{size}") == content
    assert progress.moved == size


def test_put_file_refused(store, tmp_path):
    """Another method's URL is no use."""
    (tmp_path / "in").write_bytes(b"x")
    store.put_bytes("there", b"y")
    with pytest.raises(StoreError):
        put_file(store.presign_get("there", 60, "user"), tmp_path / "in")
    assert store.get_bytes("there") == b"y"


def test_connections_can_be_shared(store, tmp_path):
    """A caller's own client is used and left open."""
    (tmp_path / "in").write_bytes(b"x")
    with httpx2.Client() as client:
        for number in range(3):
            put_file(store.presign_put(f"shared/{number}", 60, "user"), tmp_path / "in", client=client)
        assert not client.is_closed
