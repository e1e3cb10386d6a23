"""Inputs: sent once, found before the job is queued, handed to its nodes."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace

import httpx2
import pytest

from gateway.errors import InputMissing, InvalidRequest
from gateway.jobs.job import StageIn
from gateway.staging import stage_in
from gateway.wire import UploadRequest


@pytest.fixture
def content() -> bytes:
    return uuid.uuid4().bytes


def wanted(content: bytes, destination: str = "in.dat", line: int | None = 3) -> StageIn:
    digest = hashlib.sha256(content).hexdigest()
    return StageIn("data/in.dat", destination, line, size=len(content), sha256=digest)


def upload(store, content: bytes, user: str = "ada"):
    request = UploadRequest(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    return stage_in.upload(store, user, request)


def test_a_file_travels_once(store, content):
    """The first time there is a URL; when the store has the file there is none; another user's is another file."""
    first = upload(store, content)
    assert httpx2.put(first.url, content=content).is_success
    assert upload(store, content) == first.model_copy(update={"url": None})
    assert upload(store, content, "bob").url is not None


def test_a_broken_upload_is_asked_for_again(store, content):
    """An object of another size is not that file."""
    store.put_bytes(upload(store, content).key, content[:5])
    assert upload(store, content).url is not None


def test_check_passes_what_is_there(store, content):
    """Each input is under its owner's key with its size."""
    store.put_bytes(upload(store, content).key, content)
    stage_in.check(store, stage_in.keyed("ada", [wanted(content), wanted(content, "again.dat")]))


def test_check_names_the_line_of_what_is_missing(store, content):
    """Neither nothing nor another size will do, nor an input of somebody else's."""
    store.put_bytes(upload(store, content, "bob").key, content)
    for inputs in (stage_in.keyed("ada", [wanted(content)]), [wanted(content)]):
        with pytest.raises(InputMissing) as missing:
            stage_in.check(store, inputs)
        assert missing.value.detail == "line 3: data/in.dat was not uploaded"
        assert missing.value.field == "script:3"
        assert missing.value.hint
    short = stage_in.keyed("bob", [replace(wanted(content), size=5)])
    with pytest.raises(InputMissing):
        stage_in.check(store, short)


def test_two_inputs_at_one_place(store, content):
    """The second one's line is named."""
    store.put_bytes(upload(store, content).key, content)
    with pytest.raises(InputMissing) as clash:
        stage_in.check(store, stage_in.keyed("ada", [wanted(content), wanted(content, line=7)]))
    assert clash.value.field == "script:7"


@pytest.mark.parametrize("destination", ["../in.dat", "/etc/passwd", "a/../../b", ""])
def test_a_destination_outside_is_refused(store, content, destination):
    """Before anything is looked for."""
    with pytest.raises(InvalidRequest):
        stage_in.check(store, stage_in.keyed("ada", [wanted(content, destination)]))


@pytest.mark.parametrize(
    ("user", "digest"), [("../bob", "0" * 64), ("", "0" * 64), ("ada", "0" * 63), ("ada", "Z" * 64)]
)
def test_a_key_stays_below_its_user(user, digest):
    """Neither name nor digest can lead elsewhere."""
    with pytest.raises(InvalidRequest):
        stage_in.input_key(user, digest)


def test_a_node_gets_urls_that_work(store, content):
    """Everything that it needs to fetch and verify an input."""
    store.put_bytes(upload(store, content).key, content)
    [view] = stage_in.for_attempt(store, stage_in.keyed("ada", [wanted(content, "deep/in.dat")]))
    assert (view.destination, view.size) == ("deep/in.dat", len(content))
    assert hashlib.sha256(httpx2.get(view.url).content).hexdigest() == view.sha256


def test_outputs_of_earlier_jobs_come_after_the_jobs_own_inputs(store):
    """Of two at one place the first has it; the other is kept below from/, and equal ones are one."""

    def earlier(source: str, destination: str, content: bytes) -> StageIn:
        return replace(wanted(content, destination), source=source, key=f"jobs/x/0/files/n/{destination}")

    inputs = [
        *stage_in.keyed("ada", [wanted(b"own", "in.dat")]),
        earlier("job 12", "in.dat", b"other"),
        earlier("job 12", "out.dat", b"twelve"),
        earlier("job 13", "out.dat", b"thirteen"),
        earlier("job 13", "same.dat", b"same"),
        earlier("job 14", "same.dat", b"same"),
    ]
    views = {view.destination: view.sha256 for view in stage_in.for_attempt(store, inputs)}
    assert views == {
        path: hashlib.sha256(content).hexdigest()
        for path, content in {
            "in.dat": b"own",
            "from/job 12/in.dat": b"other",
            "out.dat": b"twelve",
            "from/job 13/out.dat": b"thirteen",
            "same.dat": b"same",
        }.items()
    }
