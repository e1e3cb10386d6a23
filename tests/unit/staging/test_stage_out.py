"""Outputs: written only where a job may, believed only when the store has them, complete with the manifest."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest, Refused
from gateway.identity.credentials import JobGrant
from gateway.jobs.job import Attempt
from gateway.staging import stage_out
from gateway.staging.manifest import Manifest
from gateway.wire import ManifestEntry

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ODD = "odd/n1/" + "0" * 64


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(uuid.uuid4().hex, -1, 0, 12, "RUNNING", ("n2", "n1"))


def grant(attempt: Attempt, node: str = "n1", scope: str | None = None) -> JobGrant:
    scope = scope or f"storage.create:/{attempt.prefix}"
    return JobGrant("1", "ada", attempt.job, attempt.label, node, (scope,), NOW, NOW + timedelta(hours=1))


def entry(path: str, content: bytes, node: str = "n1") -> ManifestEntry:
    digest = hashlib.sha256(content).hexdigest()
    return ManifestEntry(path=path, key=f"files/{node}/{path}", size=len(content), sha256=digest)


def put(store, attempt: Attempt, files: dict[str, bytes], node: str = "n1") -> list[ManifestEntry]:
    for path, content in files.items():
        store.put_bytes(f"{attempt.prefix}files/{node}/{path}", content)
    return [entry(path, content, node) for path, content in files.items()]


def test_a_job_writes_below_its_own_prefix(store, attempt):
    """One URL a path, in order, each good for that object."""
    paths = ["files/n1/a", "files/n1/deep/ü b", ODD, "live/stdout"]
    for path, url in zip(paths, stage_out.presign(store, grant(attempt), paths), strict=True):
        assert httpx2.put(url, content=path.encode()).is_success
        assert store.get_bytes(attempt.prefix + path) == path.encode()


@pytest.mark.parametrize(
    "path",
    [
        "manifest.json",
        "files/n2/a",
        "files/n1",
        "files/n1/",
        "files/n1/../n2/a",
        "files/n1/../../../other/0/files/n1/a",
        "/files/n1/a",
        "files//n1/a",
        "odd/n1/name",
        "odd/n2/" + "0" * 64,
        "live/stderr",
        "live",
        "",
        "\udcff",
    ],
)
def test_and_nowhere_else(store, attempt, path):
    """Not the manifest, not another node's part, not another job's; one bad path spoils the request."""
    with pytest.raises(Refused):
        stage_out.presign(store, grant(attempt), ["files/n1/a", path])


def test_a_credential_without_the_scope_writes_nothing(store, attempt):
    """The path is right and the capability is not there."""
    for scope in ("storage.read:/", "storage.create:/jobs/another/0/"):
        with pytest.raises(Refused):
            stage_out.presign(store, grant(attempt, scope=scope), ["files/n1/a"])


@given(st.text(max_size=40))
def test_no_text_is_a_key_of_another_node(text):
    """Whatever a node asks for, what it owns begins with its own folder and holds no step up."""
    for key in (text, f"files/{text}", f"files/n1/{text}"):
        if stage_out.owned(key, "n1"):
            assert key.startswith(("files/n1/", "odd/n1/"))
            assert ".." not in key.split("/")


def test_a_part_is_accepted_when_every_object_is_there(store, attempt):
    """Size by size; errors are kept."""
    files = put(store, attempt, {"a": b"1", "deep/b": b"", "größe": b"333"})
    part = stage_out.accept(store, attempt, "n1", files, ["c: lost"])
    assert part.node == "n1"
    assert [file["path"] for file in part.files] == ["a", "deep/b", "größe"]
    assert part.errors == ("c: lost",)
    assert stage_out.accept(store, attempt, "n1", []).files == ()


def test_a_part_is_refused_with_the_list_of_what_is_not(store, attempt):
    """Missing and of another size alike; the others are not named."""
    files = put(store, attempt, {"there": b"1", "short": b"1"})
    files += [entry("missing", b"x")]
    files[1] = entry("short", b"longer")
    with pytest.raises(InvalidRequest) as refusal:
        stage_out.accept(store, attempt, "n1", files)
    assert "'short', 'missing'" in refusal.value.detail
    assert "there'" not in refusal.value.detail
    many = [entry(f"{number}", b"x") for number in range(50)]
    with pytest.raises(InvalidRequest, match="and 30 more"):
        stage_out.accept(store, attempt, "n1", many)


def test_a_part_names_its_own_objects_once(store, attempt):
    """Not another node's, not one twice, and no path that would leave the destination."""
    [good] = put(store, attempt, {"a": b"1"})
    for bad in (
        [good.model_copy(update={"key": "files/n2/a"})],
        [good.model_copy(update={"path": "../a"})],
        [good, good],
        [good, good.model_copy(update={"path": "b"})],
    ):
        with pytest.raises(InvalidRequest):
            stage_out.accept(store, attempt, "n1", bad)


def test_complete_writes_the_manifest_last_and_the_same_again(store, attempt):
    """The leader is Slurm's first node, whoever reported first; a second call changes no byte."""
    parts = [
        stage_out.accept(store, attempt, node, put(store, attempt, files, node))
        for node, files in (("n1", {"out": b"one", "same": b"x"}), ("n2", {"out": b"two", "same": b"x"}))
    ]
    manifest = stage_out.complete(store, attempt, parts)
    written = store.get_bytes(attempt.prefix + "manifest.json")
    assert Manifest.read(written) == manifest == stage_out.merged(attempt, parts)
    assert {e.path: e.key for e in manifest.entries} == {
        "out": "files/n2/out",
        "same": "files/n2/same",
        "nodes/n1/out": "files/n1/out",
    }
    assert stage_out.complete(store, attempt, reversed(parts)) == manifest
    assert store.get_bytes(attempt.prefix + "manifest.json") == written


def test_an_attempt_without_outputs_has_a_manifest_too(store, attempt):
    """Empty is an answer."""
    assert stage_out.complete(store, attempt, []).entries == ()
    assert store.head(attempt.prefix + "manifest.json") is not None


def test_what_a_running_job_printed(store, attempt):
    """Nothing at first, then what its node uploaded."""
    assert stage_out.live_output(store, attempt) == b""
    [url] = stage_out.presign(store, grant(attempt), ["live/stdout"])
    httpx2.put(url, content=b"hello")
    assert stage_out.live_output(store, attempt) == b"hello"
