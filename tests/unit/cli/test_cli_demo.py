"""burst demo against a stub: what it tells, what it checks, and that it always tears down."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from stub_gateway import NOW, PASSWORD, job_view, quote_view

from gateway.cli import showcase
from gateway.errors import BurstError, SetupError

CONTENT = json.dumps({"madelung": 1.7475645946347, "ranks": 4, "hosts": ["small-1", "small-2"]}).encode()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NODE = {
    "name": "small-1", "generation": 1, "state": "booting", "offer": "small", "machine": "m", "address": None,
    "job": None, "reason": "", "since": NOW.isoformat(), "lease_until": None,
}  # fmt: skip
RECEIPT = {
    "number": "R-1", "job": 7, "burst_id": "0" * 32, "account": "demo", "held_ucr": 1_200_000, "charged_ucr": 40_001,
    "lines": [], "refunded_ucr": 1_159_999, "settled_at": NOW.isoformat(), "authorisation": "a", "signature": "s",
}  # fmt: skip


@pytest.fixture
def machine(here, stub, stand_in, tmp_path, monkeypatch):
    """A gateway that comes "up" at the stub, an example whose check accepts CONTENT, and a job that succeeds."""
    (tmp_path / "password").write_text(PASSWORD)
    facts = {
        "url": stub.url, "directory": "D", "store_kind": "rclone", "started_s": 0.1, "store": {"url": "http://s"},
        "slurm": {"version": "24.11.5", "origin": "private", "conf": "c", "environment": {}},
        "nodes": {"form": "container", "reason": "root"}, "users": {"demo": str(tmp_path / "password")},
    }  # fmt: skip
    stand_in(f"""
        verb = sys.argv[1]
        open({str(tmp_path / "verbs")!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
        print(json.dumps({facts!r} if verb == "up" else {{"stopped": ["gateway"]}}))
        """)
    folder = tmp_path / "example"
    folder.mkdir()
    (folder / "job.sh").write_text("#!/bin/sh\n")
    monkeypatch.setattr("gateway.cli.showcase.Showcase.path", lambda _showcase: folder)
    file = {"path": "result.json", "size": len(CONTENT), "sha256": DIGEST, "task": None}
    stub.objects[DIGEST] = CONTENT
    stub.on("GET /api/v1/balance", (200, [{"account": "demo", "available_ucr": 100_000_000, "held_ucr": 0}]))
    stub.on("POST /api/v1/quotes", (200, quote_view()))
    stub.on("POST /api/v1/jobs", (201, job_view()))
    stub.on("GET /api/v1/jobs/7", (200, job_view()), (200, job_view(state="COMPLETED", finished=True, exit_code=0)))
    nodes = ([], [NODE], [NODE | {"state": "idle", "address": "10.0.0.2"}], [])
    stub.on("GET /api/v1/nodes", *((200, some) for some in nodes))
    stub.on("GET /api/v1/jobs/7/outputs", (200, {"job": 7, "files": [file | {"url": f"{stub.url}/objects/{DIGEST}"}]}))
    stub.on("GET /api/v1/jobs/7/receipt", (200, RECEIPT))
    return stub


@pytest.fixture
def verbs(tmp_path):
    """The verbs that gateway.bootstrap was asked for."""
    return lambda: [line.split()[0] for line in (tmp_path / "verbs").read_text().splitlines()]


def test_the_demo_goes_from_up_to_down(burst, machine, verbs, here):
    """Login, price, submission, nodes, result, bill, no nodes, down: in this order, in plain lines."""
    ran = burst("demo", "--dir", "D")
    assert ran.code == 0, ran.err
    told = [
        "logged in as demo", "at most 1.200000 cr", "Submitted batch job 7", "node small-1 (small): booting",
        "every SHA-256 verified", "right: Madelung constant 1.7475645946", "charged 0.040001 cr", "node small-1: gone",
        "no nodes are left", "stopped: gateway", "Done in",
    ]  # fmt: skip
    places = [ran.out.find(text) for text in told]
    assert -1 not in places, (told, ran.out)
    assert places == sorted(places)
    assert "\x1b" not in ran.out
    assert verbs() == ["up", "down"]
    assert (here / "D" / "results" / "7" / "result.json").read_bytes() == CONTENT
    assert (here / "D" / "client" / "profiles" / "default.json").exists()


def test_json_is_the_only_thing_on_stdout(burst, machine):
    """With --json the story goes to stderr."""
    ran = burst("demo", "--dir", "D", "--json")
    assert json.loads(ran.out)["answer"].startswith("Madelung constant 1.7475645946 by 4 ranks")
    assert "Submitted batch job 7" in ran.err


def test_keep_leaves_it_running(burst, machine, verbs):
    """--keep: no down, and how to go on."""
    ran = burst("demo", "--dir", "D", "--keep")
    assert ran.code == 0
    assert verbs() == ["up"]
    assert "burst down --dir D" in ran.out


def test_a_job_that_fails_fails_the_demo(burst, machine, verbs):
    """The reason is the error, and it still tears down."""
    machine.on("GET /api/v1/jobs/7", (200, job_view(state="FAILED", reason="exit code 1", finished=True)))
    ran = burst("demo", "--dir", "D")
    assert ran.code == 1
    assert "job 7 ended as FAILED: exit code 1" in ran.err
    assert verbs() == ["up", "down"]


def test_a_wrong_result_fails_the_demo(burst, machine, verbs):
    """A result that is not the known answer is a failure, whatever Slurm says."""
    wrong = CONTENT.replace(b"1.74", b"1.75")
    digest = hashlib.sha256(wrong).hexdigest()
    machine.objects[digest] = wrong
    url = f"{machine.url}/objects/{digest}"
    file = {"path": "result.json", "size": len(wrong), "sha256": digest, "task": None, "url": url}
    machine.on("GET /api/v1/jobs/7/outputs", (200, {"job": 7, "files": [file]}))
    ran = burst("demo", "--dir", "D")
    assert ran.code == 1
    assert "the result is wrong: Madelung constant 1.75" in ran.err
    assert verbs() == ["up", "down"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_tears_down_too(machine, tmp_path, verbs, number):
    """Ctrl-C or a TERM while the job waits: down is run, the exit code is not 0."""
    machine.on("GET /api/v1/jobs/7", (200, job_view()))
    caller = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from gateway.cli import bootstrapping, showcase
        from gateway.cli.burst import run
        program = {str(tmp_path / "bootstrap.py")!r}
        bootstrapping.arguments = lambda verb, directory, more=(): [sys.executable, program, verb]
        showcase.Showcase.path = lambda example: Path({str(tmp_path / "example")!r})
        sys.exit(run(["demo", "--dir", "D"]))
        """)
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", caller],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    for line in process.stdout:
        if "submitted: the script was read" in line:
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert verbs() == ["up", "down"]


@pytest.mark.parametrize(
    ("form", "modules", "shown"),
    [
        ("container", set(), "mpi-madelung"),
        ("process", {"numpy"}, "ising-array"),
        ("process", {"mpi4py", "numpy"}, "ising-array"),
    ],
)
def test_what_is_shown_is_what_the_nodes_can_run(monkeypatch, form, modules, shown):
    """Container nodes bring what they need; process nodes have this machine's programs, and no address each."""
    monkeypatch.setattr(showcase, "_python_has", lambda *wanted: set(wanted) <= modules)
    assert showcase.choose(form).folder == shown


def test_without_numpy_the_packages_are_named(monkeypatch):
    """A machine whose process nodes could run nothing is told what to install."""
    monkeypatch.setattr(showcase, "_python_has", lambda *_wanted: False)
    with pytest.raises(SetupError) as caught:
        showcase.choose("process")
    assert "python3-numpy" in caught.value.hint


@pytest.mark.parametrize("shown", [showcase.MPI, showcase.ARRAY])
def test_what_can_be_shown_is_there(shown):
    """Each showcase's folder and scripts are in examples/."""
    assert all((shown.path() / script).is_file() for script in shown.scripts)


@pytest.mark.parametrize(("sigmas", "right"), [(0.5, True), (-6.0, False)])
def test_the_ising_energies_are_judged_against_onsager(tmp_path, sigmas, right):
    """More than five standard errors off is wrong, in either direction."""
    points = [{"energy": {"sigmas": 0.1}}, {"energy": {"sigmas": sigmas}}]
    (tmp_path / "ising.json").write_text(json.dumps({"points": points}))
    if right:
        assert "0.5 standard errors" in showcase.judge_ising(tmp_path)
    else:
        with pytest.raises(BurstError, match=r"6\.0 standard errors"):
            showcase.judge_ising(tmp_path)


def test_a_result_that_is_not_there_is_wrong(tmp_path):
    """A job that left nothing has not succeeded."""
    with pytest.raises(BurstError, match=r"no result\.json"):
        showcase.judge_madelung(tmp_path)
