"""What goes to sbatch on a login node, and what its commands' words mean."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.engines.command_lines import refusal_of, submission_stdin, token_of, with_token
from gateway.engines.engine import Submission
from gateway.errors import NotFound, SchedulerRefused, SchedulerUnavailable
from gateway.ssh.session import Done

TOKEN = "0123456789abcdef" * 2
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=60)
SBATCH = f"""#!{sys.executable}
import json, os, sys
json.dump([sys.argv[1:], dict(os.environ), open(sys.argv[-1], newline='').read()], sys.stdout)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Gives a submission to a program named sbatch that tells what it was given."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "sbatch").write_text(SBATCH)
    (folder / "sbatch").chmod(0o755)

    def given_to_sbatch(submission):
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "SSH_CONNECTION": "somewhere"}
        done = subprocess.run(
            ["sh", "-s"], input=submission_stdin(submission), env=environment, capture_output=True, check=True
        )
        return json.loads(done.stdout)

    return given_to_sbatch


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=TEXT, value=TEXT, name=st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}X", fullmatch=True))
def test_script_and_environment_arrive_as_they_are(run, script, value, name):
    """Quotes, dollars, line ends and a line that looks like the end of the document change nothing."""
    whole = f"#!/bin/sh\n{script}\nEND-OF-\n"
    _, environment, arrived = run(Submission(TOKEN, whole, {}, {name: value, "PATH": "/nowhere"}, "/tmp"))  # noqa: S108

    assert (environment[name], environment["PATH"]) == (value, "/nowhere")
    assert "SSH_CONNECTION" not in environment
    assert arrived == whole


def test_options_are_sbatchs_own(run):
    """Each option as sbatch takes it; those of the command itself stay behind; the token ends the comment."""
    options = {"hold": "", "nodes": "2", "comment": "mine", "exclusive": "", "parsable": "", "chdir": "/x"}
    words, _, _ = run(Submission(TOKEN, "#!/bin/sh\n", options, {"SECRET": "s3cr3t"}, "/srv/ada"))

    assert words == [
        "--parsable", "--export=ALL", "--chdir=/srv/ada", f"--comment=mine burst:{TOKEN}",
        "--hold", "--nodes=2", "--exclusive", "/dev/stdin",
    ]  # fmt: skip
    assert "s3cr3t" not in shlex.join(words)


@pytest.mark.parametrize("comment", ["", "mine", "burst:x", f"burst:{'a' * 32} and more"])
def test_the_token_is_found_in_a_comment(comment):
    """Whatever the user's own comment is."""
    assert token_of(with_token(comment, TOKEN)) == TOKEN
    assert token_of(comment) == ""


@pytest.mark.parametrize(
    ("said", "kind", "detail", "number"),
    [
        (
            "error: no x\nsbatch: error: Batch job submission failed: Invalid partition name specified",
            SchedulerRefused, "Invalid partition name specified", 2000,
        ),
        ("slurm_update error: Invalid node name specified", SchedulerRefused, "Invalid node name specified", 2009),
        ("slurm_load_jobs error: Invalid job id specified", NotFound, "Invalid job id specified", None),
        ("error: Kill job error on job id 9: Invalid job id specified", NotFound, "Invalid job id specified", None),
        (
            "squeue: error: Unable to contact slurm controller (connect failure)",
            SchedulerUnavailable, "Unable to contact slurm controller (connect failure)", None,
        ),
        ("", SchedulerRefused, "sbatch ended with 1", None),
    ],
)  # fmt: skip
def test_what_went_wrong_is_said_in_slurms_words(said, kind, detail, number):
    """The last cause, without the program's name; a silent controller is not a refusal."""
    error = refusal_of(Done(1, b"", said.encode()), "sbatch")

    assert type(error) is kind
    assert error.detail == detail
    if kind is SchedulerRefused:
        assert error.errno == number
