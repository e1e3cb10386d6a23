"""burst submit and quote: what goes to stdout, to stderr, to the gateway, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from stub_gateway import job_view, problem, quote_view

SCRIPT = "#!/bin/sh\n#SBATCH -N1\nhostname\n"


@pytest.fixture
def script(here):
    (here / "job.sh").write_text(SCRIPT)
    return here / "job.sh"


@pytest.fixture
def accepted(stub):
    stub.on("POST /api/v1/jobs", (201, job_view()))
    stub.on("POST /api/v1/quotes", (200, quote_view()))
    return stub


def sent(stub):
    return stub.requests("POST /api/v1/jobs")[-1].json


def test_stdout_is_exactly_what_sbatch_prints(burst, accepted, script):
    """One line on stdout; the price is on stderr."""
    ran = burst("submit", "job.sh")
    assert (ran.code, ran.out) == (0, "Submitted batch job 7\n")
    assert "1.200000 cr" in ran.err


def test_parsable_prints_the_id_alone(burst, accepted, script):
    """--parsable, as sbatch has it."""
    assert burst("submit", "--parsable", "job.sh").out == "7\n"


def test_quiet_prints_nothing(burst, accepted, script):
    """-Q: neither id nor price."""
    ran = burst("submit", "-Q", "job.sh")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_json_is_the_job(burst, accepted, script):
    """--json before the script prints the job, after it belongs to the script."""
    assert json.loads(burst("submit", "--json", "job.sh").out)["id"] == 7
    burst("submit", "job.sh", "--json")
    assert sent(accepted)["arguments"] == ["--json"]


def test_sbatch_options_arrive_as_typed(burst, accepted, script):
    """Nothing is normalised on the way."""
    burst("submit", "-N", "2", "--exclusive", "--max-cost=3", "--ntasks=4", "job.sh", "in put")
    assert sent(accepted)["options"] == ["-N", "2", "--exclusive", "--ntasks=4"]
    assert sent(accepted)["arguments"] == ["in put"]
    assert sent(accepted)["script"] == SCRIPT
    assert accepted.requests("POST /api/v1/jobs")[-1].max_spend_ucr == 3_000_000


def test_wrap_is_the_script_that_sbatch_makes(burst, accepted, here):
    """--wrap CMD, with sbatch's own comment."""
    burst("submit", "--wrap", "hostname; date")
    assert sent(accepted)["script"] == "#!/bin/sh\n# This script was created by sbatch --wrap.\n\nhostname; date\n"
    assert sent(accepted)["script_name"] == "wrap"


def test_wrap_takes_no_script(burst, accepted, script):
    """Both at once are refused in sbatch's words."""
    ran = burst("submit", "--wrap=date", "job.sh")
    assert ran.code == 1
    assert "Script arguments not permitted with --wrap option" in ran.err


def test_a_script_is_looked_up_here_then_on_path(burst, accepted, here, tmp_path, monkeypatch):
    """As sbatch: a bare name is searched for, a path is taken literally."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "found.sh").write_text("#!/bin/sh\n# on path\n")
    (tmp_path / "bin" / "found.sh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert burst("submit", "found.sh").code == 0
    assert "on path" in sent(accepted)["script"]
    (here / "found.sh").write_text("#!/bin/sh\n# here\n")
    burst("submit", "found.sh")
    assert "# here" in sent(accepted)["script"]
    assert burst("submit", "./none.sh").code == 1


def test_named_variables_travel_and_others_stay(burst, accepted, script, monkeypatch):
    """--export names what leaves this machine; SBATCH_* always does."""
    monkeypatch.setenv("WANTED", "1")
    monkeypatch.setenv("PRIVATE", "2")
    monkeypatch.setenv("SBATCH_COMMENT", "c")
    burst("submit", "--export=WANTED,B=3", "job.sh")
    environment = sent(accepted)["environment"]
    assert environment["WANTED"] == "1"
    assert environment["SBATCH_COMMENT"] == "c"
    assert "PRIVATE" not in environment


@pytest.mark.parametrize(
    ("text", "options", "code", "words"),
    [
        ("hostname\n", [], 1, "job.sh:1"),
        ("", [], 1, "Batch script is empty!"),
        ("#!/bin/sh\n#SBATCH --no-such\n", [], 255, "job.sh:2"),
        ("#!/bin/sh\n#BURST --no-such\n", [], 255, "job.sh:2"),
        ("#!/bin/sh\n#BURST --stage-in=none.txt\n", [], 1, "job.sh:2"),
        (SCRIPT, ["--time=never"], 255, "--time"),
        (SCRIPT, ["--no-such"], 255, "unrecognized option '--no-such'"),
        (SCRIPT, ["--max-cost=x"], 255, "not an amount"),
    ],
)
def test_bad_input_is_one_line_and_reaches_nobody(burst, accepted, here, text, options, code, words):
    """Refused here: sbatch's exit code, the place at fault, what to do next; no job is sent."""
    (here / "job.sh").write_text(text)
    ran = burst("submit", *options, "job.sh")
    assert ran.code == code
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("burst: error: ")
    assert words in ran.err
    assert ";" in ran.err
    assert accepted.requests("POST /api/v1/jobs") == []


def test_the_gateways_refusal_names_the_script(burst, stub, script):
    """An error that the gateway finds is told like one that was found here."""
    stub.on("POST /api/v1/jobs", (422, problem("invalid_script", 422, "bad", line=2, field="script:2", exit_code=1)))
    ran = burst("submit", "job.sh")
    assert ran.code == 1
    assert "job.sh:2: bad" in ran.err


def test_test_only_creates_nothing(burst, accepted, script):
    """--test-only and --dry-run ask for the price and no more."""
    for option in ("--test-only", "--dry-run"):
        ran = burst("submit", option, "job.sh")
        assert (ran.code, ran.out) == (0, "")
        assert "at most 1.200000 cr" in ran.err
    assert accepted.requests("POST /api/v1/jobs") == []


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"state": "COMPLETED", "exit_code": 0}, 0),
        ({"state": "FAILED", "exit_code": 3}, 3),
        ({"state": "CANCELLED", "exit_code": 0}, 1),
        ({"state": "TIMEOUT", "exit_code": None}, 1),
    ],
)
def test_wait_ends_with_the_jobs_exit_code(burst, accepted, script, end, code):
    """--wait follows the job; one that was ended from outside is a failure."""
    accepted.on("GET /api/v1/jobs/7", (200, job_view(finished=True, **end)))
    ran = burst("submit", "--wait", "job.sh")
    assert ran.code == code
    assert ran.out == "Submitted batch job 7\n"


def test_quote_shows_what_the_price_is_made_of(burst, accepted, script):
    """Lines, total, account."""
    ran = burst("quote", "-N2", "job.sh")
    assert "node hour" in ran.out
    assert "1.200000 cr on small" in ran.out
    assert "9.000000 cr" in ran.out


def test_help_is_a_help_page(burst):
    """--help before the script, without a login."""
    for name in ("submit", "quote"):
        ran = burst(name, "--help")
        assert ran.code == 0
        assert "Examples:" in ran.out


def test_a_script_may_come_from_stdin(accepted, here):
    """No script: stdin, as sbatch. Run as a process of its own, with a real pipe."""
    ran = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "submit"],
        input=SCRIPT, capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert ran.stdout == "Submitted batch job 7\n", ran.stderr
    assert sent(accepted)["script_name"] == "sbatch"
