"""What the gateway relies on in an object store, asked of the real server that ``burst up`` starts, and of Ceph's."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from gateway.errors import NotFound, StoreError, StoreUnavailable
from gateway.settings import Settings
from gateway.staging.embedded_store import EmbeddedStore, rclone
from gateway.staging.object_store import S3Store, StoreAccess

SECOND_ADDRESS = "127.0.0.2"
"""Stands for the bridge on which nodes see the store."""

KEYS = [
    "jobs/1/0/files/small-1/plain.dat",
    "jobs/1/0/files/small-1/with blank and +plus%25?query#fragment&and=equals",
    "jobs/1/0/files/small-1/größe/日本/quote'\"`$(x)\\back",
    "jobs/1/0/files/small-1/.hidden/~tilde/*.star[1]{2}",
    "jobs/1/0/files/small-1/" + "d" * 200 + "/" + "f" * 200,
]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A running store of a directory of its own."""
    embedded = EmbeddedStore(Settings(directory=tmp_path_factory.mktemp("site")))
    embedded.start([SECOND_ADDRESS])
    yield embedded
    embedded.stop()


@pytest.fixture(scope="module", params=["rclone", "ceph"])
def access(request):
    """How to reach a bucket of each kind of store: of Ceph's by two names, since it listens on one address."""
    if request.param == "rclone":
        return request.getfixturevalue("embedded").access
    ceph = request.getfixturevalue("ceph")
    by_name = ceph.endpoint.replace("127.0.0.1", "localhost")
    return StoreAccess("contract", ceph.endpoint, by_name, ceph.access_key, secret_key=ceph.secret_key)


@pytest.fixture(scope="module")
def store(access):
    store = S3Store(access)
    store.create_bucket()
    return store


def test_what_was_put_is_there(store):
    """An object has the content, size and digest that it was written with."""
    store.put_bytes("a/one", b"hello")
    assert store.get_bytes("a/one") == b"hello"
    info = store.head("a/one")
    assert info.size == 5
    assert info.etag == hashlib.md5(b"hello", usedforsecurity=False).hexdigest()
    assert info.modified.tzinfo is not None


def test_a_digest_is_of_what_the_store_holds(store):
    """Read through in blocks; of what is not there, NotFound."""
    content = os.urandom((1 << 20) + 17)
    store.put_bytes("a/large", content)
    assert store.sha256("a/large") == hashlib.sha256(content).hexdigest()
    with pytest.raises(NotFound):
        store.sha256("no/such")


def test_a_bucket_is_made_once(store, access):
    """Making it again is no error; one that is not there is not there."""
    store.create_bucket()
    assert store.has_bucket()
    assert not S3Store(replace(access, bucket="no-such-bucket")).has_bucket()


def test_a_second_put_replaces_the_first(store):
    """A key has one content: the last one."""
    store.put_bytes("a/again", b"first")
    store.put_bytes("a/again", b"second, longer")
    assert store.get_bytes("a/again") == b"second, longer"


def test_a_large_object_is_streamed_and_copied(store):
    """Piece by piece it is what was put; a copy does not follow what happens to its original."""
    data = bytes(range(256)) * 4096
    store.put_bytes("a/large", data)
    store.copy("a/large", "b/copy of it")
    store.put_bytes("a/large", b"another")
    pieces = list(store.stream("b/copy of it"))
    assert b"".join(pieces) == data
    assert len(pieces) > 1
    with pytest.raises(NotFound):
        store.copy("no/such", "b/nothing")
    with pytest.raises(NotFound):
        next(store.stream("no/such"))


def test_what_is_not_there(store):
    """No object is None to head, NotFound to get, and nothing to delete."""
    assert store.head("no/such") is None
    with pytest.raises(NotFound):
        store.get_bytes("no/such")
    store.delete("no/such")


def test_a_deleted_object_is_gone(store):
    """After delete, head and list know nothing of it."""
    store.put_bytes("gone/one", b"x")
    store.delete("gone/one")
    assert store.head("gone/one") is None
    assert list(store.list("gone/")) == []


def test_list_gives_all_pages_of_a_prefix(store):
    """More objects than a page holds are all listed, by key, with their sizes, and none of another prefix."""
    wanted = {f"many/in/{number:04}": number % 7 for number in range(1050)}
    for key, size in wanted.items():
        store.put_bytes(key, b"x" * size)
    store.put_bytes("many/inside", b"another prefix")
    listed = [(key, info.size) for key, info in store.list("many/in/")]
    assert listed == sorted(wanted.items())


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("audience", ["user", "node"])
def test_presigned_put_then_get(store, key, audience):
    """Whoever has the URLs can write and read that object with any HTTP client, whatever its name."""
    url = store.presign_put(key, 60, audience)
    assert httpx2.put(url, content=key.encode()).is_success
    assert httpx2.get(store.presign_get(key, 60, audience)).content == key.encode()
    assert store.get_bytes(key) == key.encode()
    assert key in dict(store.list(key[:30]))


def test_each_audience_has_its_own_endpoint(embedded):
    """Users are sent to loopback, nodes to the address that they can reach."""
    store = embedded.open()
    assert urlsplit(store.presign_get("k", 60, "user")).hostname == "127.0.0.1"
    assert urlsplit(store.presign_get("k", 60, "node")).hostname == SECOND_ADDRESS
    assert embedded.access.node_endpoint.startswith(f"http://{SECOND_ADDRESS}:")


def test_a_url_is_good_at_its_own_endpoint_only(store):
    """A URL made for nodes is refused at the users' address: the host is signed."""
    store.put_bytes("bound", b"x")
    node, user = (urlsplit(store.presign_get("bound", 60, audience)) for audience in ("node", "user"))
    assert httpx2.get(node._replace(netloc=user.netloc).geturl()).status_code == 403


def test_a_url_is_good_for_its_own_object_only(store):
    """Another key under the same signature is refused, to read and to write."""
    store.put_bytes("mine", b"x")
    store.put_bytes("other", b"secret")
    for url, call in (
        (store.presign_get("mine", 60, "user"), httpx2.get),
        (store.presign_put("mine", 60, "user"), httpx2.put),
    ):
        assert call(url.replace("/mine?", "/other?")).status_code == 403
    assert store.get_bytes("other") == b"secret"


def test_a_url_is_good_for_its_own_method_only(store):
    """With a URL to read one cannot write."""
    store.put_bytes("readable", b"x")
    assert httpx2.put(store.presign_get("readable", 60, "user"), content=b"y").status_code == 403
    assert store.get_bytes("readable") == b"x"


def test_a_tampered_url_is_refused(store):
    """A longer life than was signed is refused, and so is another signature."""
    store.put_bytes("tampered", b"x")
    url = store.presign_get("tampered", 60, "user")
    assert httpx2.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")).status_code == 403
    assert httpx2.get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403
    # Without any signature rclone says 400 where AWS says 403.
    assert httpx2.get(url.partition("?")[0]).status_code in {400, 403}


def test_an_expired_url_is_refused(store):
    """After its time a URL is good for nothing."""
    store.put_bytes("short", b"x")
    url = store.presign_get("short", 1, "user")
    assert httpx2.get(url).is_success
    deadline = time.monotonic() + 10
    while (status := httpx2.get(url).status_code) == 200 and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    # rclone says 400 (ExpiredToken) where AWS says 403.
    assert status in {400, 403}


def test_wrong_keys_are_refused(access):
    """Another secret, or another name, opens nothing."""
    good = access
    for access_key, secret in ((good.access_key, "0" * 64), ("stranger0123456789ab", good.secret_key)):
        stranger = S3Store(
            StoreAccess(good.bucket, good.user_endpoint, good.node_endpoint, access_key, secret_key=secret)
        )
        with pytest.raises(StoreError) as refusal:
            stranger.get_bytes("mine")
        assert not refusal.value.retryable


def test_a_store_that_is_away_is_worth_a_retry():
    """Nobody answers: StoreUnavailable, and it says so."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    store = S3Store(StoreAccess("burst", nobody, nobody, "key0123456789", secret_key="secret0123456789"))
    with pytest.raises(StoreUnavailable) as away:
        store.head("k")
    assert away.value.retryable
    assert away.value.hint


def test_threads_share_a_store(store):
    """Eight threads write and read at once through one client."""
    failures = []

    def work(name: int) -> None:
        for number in range(20):
            key = f"threads/{name}/{number}"
            store.put_bytes(key, key.encode())
            if store.get_bytes(key) != key.encode():
                failures.append(key)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(store.list("threads/"))) == 160


def test_the_secret_is_in_no_command_line_no_environment_and_no_log(embedded):
    """Other users of the machine see the process list; the keys are only in a file for the owner."""
    secret = embedded.access.secret_key.encode()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(secret in command for command in commands)
    process = Path("/proc", str(embedded._daemon.pid()))
    assert b"\0rcd\0" in (process / "cmdline").read_bytes()
    assert b"RCLONE_CONFIG=" in (process / "environ").read_bytes()
    assert secret not in (process / "environ").read_bytes()
    assert embedded._socket.parent.stat().st_mode & 0o777 == 0o700
    directory = embedded._keys.parents[1]
    assert secret not in (directory / "log" / "store.log").read_bytes()
    assert embedded._keys.stat().st_mode & 0o777 == 0o600
    assert embedded._keys.parent.stat().st_mode & 0o777 == 0o700
    assert repr(embedded.access).count("secret") == 0
    assert rclone().is_file()


def test_start_adopts_what_runs_and_heals_what_died(tmp_path):
    """A second start finds the first server; killed, it comes back with all it had; stopped, it is gone."""
    first = EmbeddedStore(Settings(directory=tmp_path))
    first.start()
    try:
        first.open().put_bytes("kept", b"x")
        pid, access = first._daemon.pid(), first.access
        again = EmbeddedStore(Settings(directory=tmp_path))
        again.start()
        assert again._daemon.pid() == pid
        assert not again.heal()
        os.kill(pid, signal.SIGKILL)
        again._daemon.stop()
        assert again.heal()
        assert again.access == access
        assert again.open().get_bytes("kept") == b"x"
        again.start([SECOND_ADDRESS])
        assert httpx2.get(again.open().presign_get("kept", 60, "node")).content == b"x"
    finally:
        first.stop()
    assert first._daemon.pid() is None
    with pytest.raises(StoreUnavailable):
        S3Store(access).head("kept")


def test_nothing_is_written_outside_the_directory(tmp_path, monkeypatch):
    """Neither the home of the user nor the temporary folder gets a file of the store's."""
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    embedded = EmbeddedStore(Settings(directory=tmp_path / "site"))
    embedded.start()
    try:
        embedded.open().put_bytes("x", b"x")
    finally:
        embedded.stop()
    assert list((tmp_path / "home").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []
