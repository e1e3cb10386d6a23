"""Epilogs that are killed, and gateways and stores that are away, against a real object store."""

from __future__ import annotations

import hashlib
import signal
import threading
from pathlib import Path

import pytest
from agent_site import NODE, SLURM_ID, named, until


def test_killed_in_the_middle_it_goes_on_where_it_was(site, embedded):
    """kill -9 during the second batch; run again, every file is there once and the first batch is not sent again."""
    site.run("prolog")
    for number in range(620):
        (site.work / f"{number:04}").write_text(str(number))
    batches = []

    def kill_at_the_second_batch(name: str, said: dict):
        if name == "presign" and said["paths"] != ["live/stdout"]:
            batches.append(len(said["paths"]))
            if len(batches) == 2:
                process.kill()

    site.hook = kill_at_the_second_batch
    process = site.start("epilog")
    assert process.wait(60) == -signal.SIGKILL
    first = {key: info.modified for key, info in site.store.list(site.attempt.prefix + "files/")}
    assert len(first) == 500
    assert site.parts == {}
    # As a kill in the middle of a line would leave it.
    uploads = site.state / "jobs" / str(SLURM_ID) / "uploads"
    with uploads.open("a") as file:
        file.write('\n{"key": "torn')
    site.hook = lambda *_: None
    inodes = {path: path.stat().st_ino for path in stored_files(site, embedded)}
    assert site.run("epilog") == 0, site.log
    assert batches == [500, 120]
    assert [len(said["paths"]) for said in named(site, "presign")][-1] == 120
    assert len(site.manifest().entries) == 620
    assert len(named(site, "epilog")) == 1
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert not site.directory.exists()


def stored_files(site, embedded) -> list[Path]:
    """The embedded store keeps objects as plain files; a replaced object is another file."""
    folder = embedded._folder / "burst" / site.attempt.prefix / "files"
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("moment", ["before the report is taken", "after the report is taken"])
def test_killed_around_its_report(site, moment):
    """Whether or not the gateway had the report, the second run ends in the same state."""
    site.run("prolog")
    (site.work / "out").write_text("x")

    def kill(name: str, said: dict):
        if name == "epilog" and process.poll() is None:
            if moment.startswith("after"):
                site._epilog(said)
            process.kill()

    site.hook = kill
    process = site.start("epilog")
    assert process.wait(60) == -signal.SIGKILL
    site.hook = lambda *_: None
    assert site.directory.exists()
    assert site.run("epilog") == 0
    assert site.staged() == {"out": b"x"}
    assert not site.directory.exists()


def test_an_epilog_that_was_done_does_nothing(site):
    """slurmd may run it again; the gateway hears nothing."""
    site.run("prolog")
    site.run("epilog")
    before = len(site.requests)
    assert site.run("epilog") == 0
    assert len(site.requests) == before


def test_a_gateway_that_is_away_is_waited_for(site):
    """The gateway goes before the epilog starts and comes back: nothing is lost."""
    site.run("prolog")
    (site.work / "out").write_text("x")
    site.close()
    process = site.start("epilog")
    until(lambda: site.log.count("wait:") >= 2)
    site.open()
    assert process.wait(60) == 0
    assert site.staged() == {"out": b"x"}


def test_a_gateway_that_stays_away_keeps_the_outputs(site):
    """Patience over, the epilog fails, slurmd drains the node, and the files are still on its disk."""
    site.run("prolog")
    (site.work / "out").write_text("x")
    site.close()
    assert site.run("epilog", patience=1) == 1
    assert "gave up" in site.log
    assert (site.work / "out").read_text() == "x"
    site.open()
    assert site.run("epilog") == 0
    assert site.staged() == {"out": b"x"}


def test_a_store_that_is_away_is_waited_for(site, embedded):
    """The store goes between the URL and the upload, and comes back at its place."""
    site.run("prolog")
    (site.work / "out").write_text("x")
    embedded.stop()
    process = site.start("epilog")
    until(lambda: "wait: PUT" in site.log)
    embedded.heal()
    assert process.wait(60) == 0
    assert site.staged() == {"out": b"x"}


def test_a_busy_gateway_is_asked_again(site):
    """503 and 429 are no answer."""
    site.run("prolog")
    (site.work / "out").write_text("x")
    answers = [(503, {}), (429, {}), (500, {})]
    site.hook = lambda name, _: answers.pop() if name in {"presign", "epilog"} and answers else None
    assert site.run("epilog") == 0
    assert answers == []
    assert site.staged() == {"out": b"x"}


def test_a_credential_that_has_ended_is_replaced(site):
    """A cancelled job's credential is void at once; what it made is staged out all the same."""
    site.run("prolog")
    (site.work / "out").write_text("x")
    site.credential = "another-credential"
    assert site.run("epilog") == 0, site.log
    assert site.staged() == {"out": b"x"}


def test_an_expired_url_is_replaced(site):
    """A URL that is refused is asked for again, once."""
    site.run("prolog")
    (site.work / "out").write_text("x")
    expired = site.store.presign_put(f"{site.attempt.prefix}files/{NODE}/out", 1, "node")
    threading.Event().wait(2.1)
    answers = [(200, {"urls": [expired]})]
    site.hook = lambda name, said: (
        answers.pop() if name == "presign" and "live" not in said["paths"][0] and answers else None
    )
    assert site.run("epilog") == 0, site.log
    assert site.staged() == {"out": b"x"}


def test_what_the_store_lost_is_uploaded_again(site):
    """The gateway looks for every object; told that one is missing, the agent starts over."""
    site.run("prolog")
    (site.work / "out").write_text("x")
    lost = []

    def lose(name: str, _said: dict):
        if name == "epilog" and not lost:
            lost.append(True)
            site.store.delete(f"{site.attempt.prefix}files/{NODE}/out")

    site.hook = lose
    assert site.run("epilog") == 0, site.log
    assert len(named(site, "epilog")) == 2
    assert site.staged() == {"out": b"x"}


def test_a_file_that_changes_meanwhile(site):
    """The store gets one state of it with the digest of just that state, and the gateway is told."""
    site.run("prolog")
    growing = site.work / "growing"
    growing.write_bytes(b"x" * 30_000_000)
    ended = threading.Event()

    def write() -> None:
        with growing.open("ab", buffering=0) as file:
            while not ended.wait(0.001):
                file.write(b"more")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert site.run("epilog") == 0, site.log
    finally:
        ended.set()
        writer.join()
    [entry] = site.manifest().entries
    content = site.staged()["growing"]
    assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert site.manifest().errors == (f"{NODE}: growing: was still being written",)
