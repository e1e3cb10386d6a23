"""The other commands: what they print, on a pipe and as JSON, and how they end."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from stub_gateway import NOW, PASSWORD, job_view, problem

from gateway.cli.burst import SECTIONS
from gateway.cli.burst import burst as group

COMMANDS = [name for commands in SECTIONS.values() for name in commands]
NODE = {
    "name": "small-1", "generation": 1, "state": "busy", "offer": "small", "machine": "m", "address": "10.0.0.2",
    "job": 7, "reason": "runs job 7", "since": NOW.isoformat(), "lease_until": None,
}  # fmt: skip
OFFER = {
    "name": "small", "provider": "local", "cores": 2, "memory_mb": 1024, "gpus": 0, "max_nodes": 12, "in_use": 1,
    "price_ucr_per_hour": 1_200_000,
}  # fmt: skip
RECEIPT = {
    "number": "R-1", "job": 7, "burst_id": "0" * 32, "account": "demo", "held_ucr": 1_200_000, "charged_ucr": 40_001,
    "lines": [{"text": "2 small nodes", "quantity": 0.033334, "unit": "node hour", "amount_ucr": 40_001}],
    "refunded_ucr": 1_159_999, "settled_at": NOW.isoformat(), "authorisation": "a" * 64, "signature": "s" * 64,
}  # fmt: skip
BALANCE = {"account": "demo", "available_ucr": 98_800_000, "held_ucr": 1_200_000}


@pytest.mark.parametrize(
    "words",
    [
        ("groups", "create", "Not A Name"),
        ("groups", "create", "ice", "--leader", "ada@home"),
        ("users", "invite", "Ada Lovelace"),
        ("totp", "enrol", "--code-file", "/dev/null"),
    ],
)
def test_what_fits_no_request_is_said_in_one_line(burst, stub, words):
    """The field is named, what was typed is not repeated, and nobody reads a traceback."""
    ran = burst(*words)

    assert (ran.out, ran.err.count("\n")) == ("", 1), ran.err
    assert ran.code != 0
    assert ran.err.startswith("burst: error: ")
    assert not [word for word in words[2:] if word in ran.err], "it may be a secret"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_and_json(burst, name):
    """--help needs no login, and shows examples; --json is there."""
    ran = burst(name, "--help")
    assert ran.code == 0, ran.err
    assert "Examples:" in ran.out
    assert "--json" in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_named_as_it_is_listed(name):
    """The lazy table and the command agree on the name."""
    assert group.get_command(None, name).name == name


def test_help_loads_no_server_and_no_client():
    """``burst --help`` is fast because it imports neither the server side nor the client."""
    code = "import sys\nfrom gateway.cli.burst import run\nrun(['--help'])\nprint(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stderr.split())
    assert "Usage: burst" in ran.stdout
    assert not loaded & {"fastapi", "sqlalchemy", "boto3", "libcloud", "paramiko", "pydantic", "httpx2", "rich"}
    assert not [
        name
        for name in loaded
        if name.startswith("gateway.") and not name.startswith(("gateway.cli", "gateway.errors"))
    ]


def test_a_client_command_loads_no_server():
    """Nor does any other command import the server side."""
    code = "import sys\nfrom gateway.cli import submit, jobs, demo, lifecycle\nprint(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {
        "fastapi",
        "sqlalchemy",
        "boto3",
        "libcloud",
        "paramiko",
        "gateway.settings",
        "gateway.service",
    }


@pytest.mark.parametrize("words", [["no-such"], ["jobs", "--no-such"], ["job"], ["cancel"], ["completion", "tcsh"]])
def test_a_wrong_command_line_is_one_line(burst, words):
    """Wrong usage ends with 2 and says where the help is."""
    ran = burst(*words)
    assert ran.code == 2
    assert ran.err.startswith("burst: error: ")
    assert ran.err.count("\n") == 1
    assert "--help" in ran.err


@pytest.mark.parametrize("words", [["jobs"], ["job", "7"], ["nodes"], ["balance"], ["whoami"], ["logout"]])
def test_without_a_login_the_next_step_is_said(burst, here, words):
    """No profile: one line that names burst login."""
    ran = burst(*words)
    assert (ran.code, ran.out) == (1, "")
    assert "burst login" in ran.err
    assert ran.err.count("\n") == 1


def test_login_and_whoami(burst, here, stub, tmp_path):
    """A password from a file logs in; whoami asks the gateway; nothing shows the key."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    ran = burst("login", stub.url, "--user", "ada", "--password-file", str(tmp_path / "password"))
    assert ran.code == 0, ran.err
    assert "ada" in ran.out
    me = {"user": "ada", "role": "user", "account": "physics", "session": "s1", "expires_at": NOW.isoformat()}
    stub.on("GET /api/v1/whoami", (200, me))
    ran = burst("whoami")
    assert "physics" in ran.out
    assert json.loads(burst("whoami", "--json").out)["user"] == "ada"


def test_a_wrong_password_ends_with_the_gateways_words(burst, stub, tmp_path):
    """Refusal: exit 1, one line."""
    (tmp_path / "password").write_text("wrong")
    ran = burst("login", stub.url, "--user", "ada", "--password-file", str(tmp_path / "password"))
    assert ran.code == 1
    assert ran.err == "burst: error: Wrong user or password; check both\n"


def test_a_password_is_never_asked_without_a_terminal(burst, stub):
    """In a pipe the command ends at once instead of waiting for nobody."""
    ran = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "login", stub.url, "--user", "ada"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=20,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "--password-file" in ran.stderr


def test_logout_removes_the_key(burst, stub, tmp_path):
    """After logout no profile is left."""
    stub.on("DELETE /api/v1/sessions/current", (204, ""))
    assert burst("logout").code == 0
    assert not list((tmp_path / "config").rglob("*.json"))


def test_jobs_is_plain_text_when_piped(burst, stub):
    """Aligned columns, no box lines, no colour."""
    stub.on("GET /api/v1/jobs?limit=50", (200, {"jobs": [job_view(), job_view(id=12345)], "next": None}))
    lines = burst("jobs").out.splitlines()
    assert lines[0].split()[:3] == ["JOB", "NAME", "STATE"]
    assert lines[1].startswith("    7  job.sh")
    assert "\x1b" not in "".join(lines)
    assert all(line == line.rstrip() for line in lines)


def test_job_tells_the_timeline_and_why_it_waits(burst, stub):
    """Each event with its time since submission, and the reason as the last line."""
    later = "2026-03-01T12:00:02.500000Z"
    events = [
        {"at": NOW.isoformat(), "kind": "submitted", "text": "the script was read"},
        {"at": later, "kind": "queued", "text": "Slurm has it as job 7"},
    ]
    stub.on("GET /api/v1/jobs/7", (200, job_view(timeline=events)))
    ran = burst("job", "7")
    lines = ran.out.splitlines()
    assert "+2.5 s" in lines[-2]
    assert "Slurm has it as job 7" in lines[-2]
    assert lines[-1].split(maxsplit=1) == ["now", "a node is being made"]


def test_job_shows_the_tasks_of_an_array(burst, stub):
    """Several runs are a table."""
    run = {
        "task": 1, "number": 0, "scheduler_id": 8, "state": "COMPLETED", "nodes": ["small-1"],
        "started_at": NOW.isoformat(), "ended_at": NOW.isoformat(), "exit_code": 0, "staged_out": True,
    }  # fmt: skip
    stub.on("GET /api/v1/jobs/7", (200, job_view(attempts=[run, run | {"task": 2, "number": 1}])))
    out = burst("job", "7").out
    assert "task 1" in out
    assert "task 2 (run 2)" in out


def test_an_unknown_job_is_one_line(burst, stub):
    """Not found: exit 1 and where to look."""
    stub.on("GET /api/v1/jobs/99", (404, problem("not_found", 404, "There is no job 99.")))
    ran = burst("job", "99")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "burst: error: There is no job 99; burst jobs lists your jobs\n"


def test_logs_follow_to_the_end(burst, stub):
    """-f prints what is added and nothing twice."""
    stub.on("GET /api/v1/jobs/7/logs?stream=stdout", (200, "one\n"), (200, "one\ntwo\n"))
    stub.on("GET /api/v1/jobs/7", (200, job_view(finished=True)))
    assert burst("logs", "-f", "7").out == "one\ntwo\n"


def test_cancel_takes_several(burst, stub):
    """Each job is ended and shown."""
    stub.on("POST /api/v1/jobs/7/cancel", (200, job_view(state="CANCELLED", reason="you cancelled it")))
    stub.on("POST /api/v1/jobs/8/cancel", (200, job_view(id=8, state="RUNNING", reason="")))
    ran = burst("cancel", "7", "8")
    assert ran.out == "Job 7: CANCELLED: you cancelled it\nJob 8: is being ended; it was RUNNING\n"


def test_fetch_verifies_and_sums_up(burst, stub, here):
    """Files arrive under their paths; the summary counts them."""
    digest = hashlib.sha256(b"result").hexdigest()
    stub.objects[digest] = b"result"
    file = {"path": "out/a.txt", "size": 6, "sha256": digest, "task": None, "url": f"{stub.url}/objects/{digest}"}
    stub.on("GET /api/v1/jobs/7/outputs", (200, {"job": 7, "files": [file]}))
    ran = burst("fetch", "7", "--to", "results")
    assert ran.code == 0, ran.err
    assert (here / "results" / "out" / "a.txt").read_bytes() == b"result"
    assert "1 files, 6 B, in results" in ran.out


def test_fetch_refuses_what_was_altered(burst, stub, here):
    """Content that is not what the manifest says is an error, and no file of that name is left."""
    digest = hashlib.sha256(b"result").hexdigest()
    stub.objects[digest] = b"altered"[:6]
    file = {"path": "a.txt", "size": 6, "sha256": digest, "task": None, "url": f"{stub.url}/objects/{digest}"}
    stub.on("GET /api/v1/jobs/7/outputs", (200, {"job": 7, "files": [file]}))
    ran = burst("fetch", "7", "--to", "results")
    assert ran.code == 1
    assert "a.txt" in ran.err
    assert not (here / "results" / "a.txt").exists()


def test_receipt_is_a_bill(burst, stub):
    """What was used, held, charged and given back, to the last micro-credit."""
    stub.on("GET /api/v1/jobs/7/receipt", (200, RECEIPT))
    out = burst("receipt", "7").out
    for part in ("R-1", "2 small nodes", "0.040001 cr", "1.200000 cr", "1.159999 cr"):
        assert part in out
    assert json.loads(burst("receipt", "7", "--json").out)["charged_ucr"] == 40_001


def test_balance_nodes_and_offers(burst, stub):
    """Tables, and their JSON."""
    stub.on("GET /api/v1/balance", (200, [BALANCE]))
    stub.on("GET /api/v1/nodes", (200, [NODE]), (200, []))
    stub.on("GET /api/v1/offers", (200, [OFFER]))
    assert "98.800000 cr" in burst("balance").out
    assert "small-1  busy" in burst("nodes").out
    assert burst("nodes").out == ""
    assert "1.200000 cr" in burst("offers").out
    assert json.loads(burst("offers", "--json").out)[0]["cores"] == 2


def test_credit_sends_whole_micro_credits(burst, stub):
    """2.5 credits are 2 500 000 micro-credits."""
    stub.on("POST /api/v1/accounts/demo/credits", (200, BALANCE))
    assert burst("credit", "demo", "2.5", "--memo", "grant").code == 0
    assert stub.requests("POST /api/v1/accounts/demo/credits")[0].json == {"amount_ucr": 2_500_000, "memo": "grant"}
    assert burst("credit", "demo", "-2.5", "--memo", "x").code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(burst, shell):
    """A script for each shell, that calls burst."""
    ran = burst("completion", shell)
    assert ran.code == 0
    assert "_BURST_COMPLETE" in ran.out


def test_completion_knows_the_commands():
    """What the shell asks at a tab: every command that starts so."""
    ran = subprocess.run(
        [sys.executable, "-c", "from gateway.cli.burst import main; main()"],
        env={**os.environ, "_BURST_COMPLETE": "bash_complete", "COMP_WORDS": "burst jo", "COMP_CWORD": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout.split() == ["plain,jobs", "plain,job"]


def test_a_reader_that_leaves_early_is_no_error(stub):
    """``burst jobs | head`` says nothing of a broken pipe."""
    many = [job_view(name="x" * 200)] * 2000
    stub.on("GET /api/v1/jobs?limit=50", (200, {"jobs": many, "next": None}))
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "jobs"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
