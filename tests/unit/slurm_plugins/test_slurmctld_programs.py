"""slurmctld's programs, run as slurmctld runs them: bare, by absolute path, with its environment."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.engines import slurm_programs

LIMIT_S = 5.0
"""Generous for a busy machine; slurmctld itself would wait for as long as it takes."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path


@pytest.fixture
def programs(place: Path) -> dict[str, Path]:
    paths = slurm_programs.paths(place / "programs")
    slurm_programs.install(paths, place / "spool", place / "site.sock", wait_s=20)
    return paths


def run(program: Path, *arguments: str, **environment: str) -> float:
    """Seconds that it took; it must end well."""
    begun = time.monotonic()
    subprocess.run([program, *arguments], env={"PATH": "/usr/bin:/bin", **environment}, check=True, timeout=LIMIT_S)
    return time.monotonic() - begun


class Site:
    """The gateway's end of the socket: keeps what it hears, answers waits when told to."""

    def __init__(self, path: Path) -> None:
        self.heard: list[dict[str, object]] = []
        self.ready = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            self.heard.append(json.loads(connection.makefile().readline()))
            if self.heard[-1]["program"] == "wait" and self.ready.wait(LIMIT_S):
                connection.sendall(b'{"ready": true}\n')


@pytest.fixture
def site(place: Path) -> Iterator[Site]:
    server = Site(place / "site.sock")
    yield server
    server.close()


def spooled(place: Path) -> list[dict[str, object]]:
    return [json.loads(file.read_text()) for file in sorted((place / "spool").iterdir())]


@pytest.mark.parametrize(
    ("name", "program"),
    [("ResumeProgram", "resume"), ("SuspendProgram", "suspend"), ("ResumeFailProgram", "resume_fail")],
)
def test_a_request_is_kept_while_the_gateway_is_away(place, programs, name, program):
    """With nobody on the socket the program returns at once, and its request waits on disk, whole."""
    before = time.time()
    run(programs[name], "small-[1-2]")
    (request,) = spooled(place)
    assert before <= request.pop("at") <= time.time()
    assert request == {"program": program, "nodes": "small-[1-2]", "resume_file": None}


def test_requests_sort_by_time_and_never_meet(place, programs):
    """Names sort in the order of writing, for whichever program."""
    for number in range(3):
        run(programs["ResumeProgram"], f"small-{number}")
    run(programs["SuspendProgram"], "small-0")
    assert [request["nodes"] for request in spooled(place)] == ["small-0", "small-1", "small-2", "small-0"]


def test_the_resume_file_travels_with_the_request(place, programs):
    """Slurm's file is gone when the program ends, so the request has its content; a broken one is left out."""
    content = {"jobs": [{"job_id": 1, "nodes_alloc": "small-1"}], "all_nodes_resume": "small-1"}
    file = place / "resume.json"
    file.write_text(json.dumps(content))
    run(programs["ResumeProgram"], "small-1", SLURM_RESUME_FILE=str(file))
    file.write_text("{")
    run(programs["ResumeProgram"], "small-1", SLURM_RESUME_FILE=str(file))
    assert [request["resume_file"] for request in spooled(place)] == [content, None]


def test_the_gateway_is_poked(place, programs, site):
    """A gateway that listens hears of the request, which is on disk by then."""
    run(programs["ResumeProgram"], "small-1")
    deadline = time.monotonic() + LIMIT_S
    while not site.heard:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert site.heard == [{"program": "poke"}]
    assert len(spooled(place)) == 1


def test_a_gateway_that_hangs_does_not_hold_slurm_up(place, programs):
    """A socket that nobody accepts on costs a fraction of a second."""
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(place / "site.sock"))
        deaf.listen(0)
        run(programs["ResumeProgram"], "small-1")
        run(programs["SuspendProgram"], "small-1")
    assert len(spooled(place)) == 2


def test_a_full_disk_is_an_error_that_slurm_sees(place, programs):
    """Without its spool the request cannot be kept: exit code and message say so."""
    (place / "spool").rmdir()
    command = [programs["ResumeProgram"], "small-1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode != 0
    assert "spool" in done.stderr


def waiting(programs: dict[str, Path]) -> subprocess.Popen[bytes]:
    environment = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "small-[1-2]"}
    return subprocess.Popen([programs["PrologSlurmctld"]], env=environment)


def test_the_prolog_returns_when_the_nodes_are_up(programs, site):
    """It asks once for the job's nodes, and ends when the answer comes, not before."""
    prolog = waiting(programs)
    with pytest.raises(subprocess.TimeoutExpired):
        prolog.wait(0.5)
    assert site.heard == [{"program": "wait", "job": 12, "nodes": "small-[1-2]"}]
    site.ready.set()
    assert prolog.wait(LIMIT_S) == 0


def test_the_prolog_outlives_a_restart_of_the_gateway(place, programs):
    """Given a gateway that comes, hangs up and comes again, the prolog asks again and gets its answer."""
    prolog = waiting(programs)
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(place / "site.sock"))
        first.listen()
        connection, _ = first.accept()
        connection.recv(100)
        connection.close()
    (place / "site.sock").unlink()
    second = Site(place / "site.sock")
    second.ready.set()
    try:
        assert prolog.wait(LIMIT_S) == 0
        assert second.heard == [{"program": "wait", "job": 12, "nodes": "small-[1-2]"}]
    finally:
        second.close()


def test_the_prolog_never_fails_a_job(place):
    """When nobody answers within ResumeTimeout it gives up, and the job is left to slurmctld's own sweep."""
    paths = slurm_programs.paths(place / "programs")
    slurm_programs.install(paths, place / "spool", place / "site.sock", wait_s=1)
    assert waiting(paths).wait(LIMIT_S) == 0


def with_the_site_s_own(place: Path) -> Path:
    """ResumeProgram of ours where the site has one already, which writes down what it is called with."""
    own = place / "own"
    own.write_text(f'#!/bin/sh\necho "$@" "$SLURM_RESUME_FILE" >> {place}/called\nexit 7\n')
    own.chmod(0o755)
    paths = slurm_programs.paths(place / "programs")
    foreign = slurm_programs.Foreign("cloud", os.getuid(), ("small", "large"), {"ResumeProgram": str(own)})
    slurm_programs.install(paths, place / "spool", place / "site.sock", wait_s=1, foreign=foreign)
    return paths["ResumeProgram"]


@pytest.mark.parametrize(
    ("nodes", "ours", "theirs"),
    [
        ("small-[1-2]", ["small-[1-2]"], ""),
        ("rack[1-3],gpu07", [], "rack[1-3],gpu07"),
        ("rack[1-3,9],small-7,large-[1,4-5],small-x1", ["small-7,large-[1,4-5]"], "rack[1-3,9],small-x1"),
    ],
)
def test_the_site_s_own_program_gets_the_site_s_own_nodes(place, nodes, ours, theirs):
    """Ours get into the spool; the other's exit code is the whole program's, as it was before."""
    program = with_the_site_s_own(place)

    done = subprocess.run([program, nodes], env={"PATH": "/usr/bin:/bin", "SLURM_RESUME_FILE": "/r"}, check=False)

    assert [request["nodes"] for request in spooled(place)] == ours
    called = place / "called"
    assert (called.read_text() if called.exists() else "") == (f"{theirs} /r\n" if theirs else "")
    assert done.returncode == (7 if theirs else 0)


def test_a_full_disk_of_ours_does_not_keep_the_site_s_own_nodes_down(place):
    """The spool is gone: said, and the other nodes are made all the same."""
    program = with_the_site_s_own(place)
    (place / "spool").rmdir()

    done = subprocess.run([program, "small-1,rack1"], capture_output=True, text=True, check=False)

    assert (place / "called").read_text().startswith("rack1")
    assert "spool: No such file" in done.stderr
