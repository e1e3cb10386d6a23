"""The client library: submission with inputs, waiting, pages, outputs."""

from __future__ import annotations

import hashlib
import os

import pytest
from stub_gateway import job_view, problem, quote_view

from gateway import wire
from gateway.client.gateway import Submission, read_script
from gateway.client.inputs import find
from gateway.errors import InputMissing, InsufficientFunds, OptionError, ScriptError

SCRIPT = "#!/bin/sh\n#BURST --stage-in=data.txt\ncat data.txt\n"


def job_of(tmp_path, script=SCRIPT, **others):
    return Submission(script, "job.sh", directory=tmp_path, **others)


def test_a_submission_carries_script_options_and_limit(stub, gateway, tmp_path):
    """Options and arguments arrive as typed, and the highest cost is signed."""
    stub.on("POST /api/v1/jobs", (201, job_view()))
    job = job_of(tmp_path, "#!/bin/sh\n", options=["-N2", "--time=5"], arguments=["a b"], max_cost_ucr=500)
    assert gateway.submit(job).id == 7
    request = stub.requests("POST /api/v1/jobs")[0]
    assert request.json["options"] == ["-N2", "--time=5"]
    assert request.json["arguments"] == ["a b"]
    assert request.json["submit_directory"] == str(tmp_path)
    assert request.max_spend_ucr == 500


def test_all_tries_of_a_submission_have_one_idempotency_key(stub, gateway, tmp_path):
    """A reply that is lost is asked for again; the gateway can tell that it is the same job."""
    stub.on("POST /api/v1/jobs", (201, job_view()))
    stub.drop_next = 1
    gateway.submit(job_of(tmp_path, "#!/bin/sh\n"))
    gateway.submit(job_of(tmp_path, "#!/bin/sh\n"))
    keys = [one.headers["idempotency-key"] for one in stub.requests("POST /api/v1/jobs")]
    assert keys[0] == keys[1] != keys[2]


def test_inputs_are_uploaded_once_under_their_digest(stub, gateway, tmp_path):
    """A file that the store has is not sent again."""
    (tmp_path / "data.txt").write_text("hello")
    stub.on("POST /api/v1/jobs", (201, job_view()))
    stub.on("POST /api/v1/quotes", (200, quote_view()))
    gateway.submit(job_of(tmp_path))
    gateway.submit(job_of(tmp_path))
    digest = hashlib.sha256(b"hello").hexdigest()
    assert stub.objects == {digest: b"hello"}
    assert len(stub.requests(f"PUT /objects/{digest}")) == 1
    declared = stub.requests("POST /api/v1/jobs")[0].json["inputs"]
    assert declared == [{"source": "data.txt", "destination": "data.txt", "sha256": digest, "size": 5}]


@pytest.mark.parametrize(
    ("quote", "error"),
    [
        ((200, quote_view(balance_ucr=5)), InsufficientFunds),
        ((422, problem("invalid_option", 422, "Invalid --time specification", exit_code=255)), OptionError),
    ],
)
def test_nothing_is_uploaded_for_a_job_that_would_be_refused(stub, gateway, tmp_path, quote, error):
    """The price is asked first: neither an unfunded nor an invalid job leaves anything in the store."""
    (tmp_path / "data.txt").write_text("hello")
    stub.on("POST /api/v1/quotes", quote)
    with pytest.raises(error):
        gateway.submit(job_of(tmp_path))
    assert stub.objects == {}
    assert stub.requests("POST /api/v1/jobs") == []


def test_an_unfunded_job_is_refused_with_the_figures(stub, gateway, tmp_path):
    """Both amounts are in the message."""
    (tmp_path / "data.txt").write_text("hello")
    stub.on("POST /api/v1/quotes", (200, quote_view(balance_ucr=5)))
    with pytest.raises(InsufficientFunds, match=r"0\.000005 cr .* 1\.200000 cr"):
        gateway.submit(job_of(tmp_path))


def test_a_missing_input_names_its_line(tmp_path):
    """The line of the script that asks for it is in the error."""
    with pytest.raises(InputMissing) as caught:
        find(SCRIPT, [], tmp_path)
    assert caught.value.field == "script:2"


def test_a_folder_stands_for_its_files(tmp_path):
    """Every file below it is declared, source and destination with the same path below."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a").write_text("a")
    (tmp_path / "in" / "deep" / "b").write_text("b")
    found = find("#!/bin/sh\n#BURST --stage-in=in:data\n", [], tmp_path)
    assert [(one.declared.source, one.declared.destination) for one in found] == [
        ("in/a", "data/a"),
        ("in/deep/b", "data/deep/b"),
    ]


def test_an_empty_folder_is_no_input(tmp_path):
    """A folder without files cannot be told from a mistake."""
    (tmp_path / "in").mkdir()
    with pytest.raises(InputMissing, match="has no files"):
        find("#!/bin/sh\n", ["in"], tmp_path)


def test_a_pipe_is_no_input(tmp_path):
    """What would be read for ever is refused."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputMissing, match="no regular file"):
        find("#!/bin/sh\n", ["pipe"], tmp_path)


@pytest.mark.parametrize("text", ["x:../y", "x:/etc/passwd", "x:", ":"])
def test_an_input_stays_below_the_working_directory(tmp_path, text):
    """A destination of the command line cannot leave it either."""
    (tmp_path / "x").write_text("")
    with pytest.raises(OptionError):
        find("#!/bin/sh\n", [text], tmp_path)


def test_a_script_over_four_megabytes_is_refused_here(tmp_path):
    """Slurm's own limit, in Slurm's own words, before anything is sent."""
    path = tmp_path / "big.sh"
    path.write_bytes(b"#!/bin/sh\n#" + b"x" * wire.MAX_SCRIPT_BYTES)
    with pytest.raises(ScriptError, match="parameter too long"):
        read_script(path)


@pytest.mark.parametrize("make", ["directory", "missing"])
def test_what_is_no_script_is_refused_as_sbatch_refuses_it(tmp_path, make):
    """A directory is an empty script, a missing file cannot be opened."""
    path = tmp_path if make == "directory" else tmp_path / "none"
    with pytest.raises(ScriptError, match=r"Batch script is empty!|Unable to open file") as caught:
        read_script(path)
    assert caught.value.exit_code == 1


def test_jobs_are_fetched_page_by_page(stub, gateway):
    """The cursor is followed, and a limit ends it."""
    stub.on("GET /api/v1/jobs", (200, {"jobs": [job_view(id=9)], "next": "c1"}))
    stub.on("GET /api/v1/jobs?cursor=c1", (200, {"jobs": [job_view(id=8)], "next": None}))
    stub.on("GET /api/v1/jobs?limit=1", (200, {"jobs": [job_view(id=9)], "next": "c1"}))
    assert [job.id for job in gateway.jobs()] == [9, 8]
    assert [job.id for job in gateway.jobs(limit=1)] == [9]


def test_wait_sees_every_change_and_ends_with_the_job(stub, gateway):
    """Equal views are told once; the last one is returned."""
    running = job_view(state="RUNNING")
    ended = job_view(state="COMPLETED", finished=True, exit_code=0)
    stub.on("GET /api/v1/jobs/7", (200, running), (200, running), (200, ended))
    seen = []
    assert gateway.wait(7, seen.append).state == "COMPLETED"
    assert [view.state for view in seen] == ["RUNNING", "COMPLETED"]


def test_a_job_id_is_one_path_segment(stub, gateway):
    """What is typed as an id cannot become another path."""
    stub.on("GET /api/v1/jobs/..%2Fbalance", (200, job_view()))
    assert gateway.job("../balance").id == 7
