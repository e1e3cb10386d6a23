"""Slurm's command lines, and what its commands say when they fail.

Invariant: what a user wrote (script, environment) travels on stdin only; a command's words are options.
Source: sbatch(1) 24.11; texts and numbers of slurm_errno.h.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from gateway.engines.engine import Submission
from gateway.errors import NotFound, SchedulerError, SchedulerRefused, SchedulerUnavailable
from gateway.slurm.getopt import LONG
from gateway.slurm.option_table import Argument, Support
from gateway.ssh.session import Done

_OF_THE_ENGINE = frozenset({"chdir", "export", "comment"})
_TOKEN = re.compile(r"(?:^|\s)burst:([0-9a-f]{32})$")
_PREFIX = re.compile(r"^(?:[a-z]+: )?(?:fatal|error): |^slurm_[a-z_]+ error: ")
_REASON = re.compile(r"(?:Batch job submission failed|Kill job error on job id \S+|slurm_\w+ error): (?P<text>.+)")

_AWAY = re.compile(
    r"Unable to contact slurm controller|Connection refused|Socket timed out|Zero Bytes were transmitted"
    r"|Unable to establish control|controller in standby|Protocol authentication error|Munge|configless"
)
_NO_SUCH_JOB = re.compile(r"Invalid job id")
ALREADY_DONE = re.compile(r"already completing or completed")
_NUMBERS = {
    "Invalid partition name specified": 2000,
    "Invalid node name specified": 2009,
    "Requested node configuration is not available": 2014,
    "Job/step already completing or completed": 2021,
    "Invalid feature specification": 2029,
    "Job dependency problem": 2034,
    "Invalid account or account/partition combination specified": 2045,
    "Invalid qos specification": 2066,
    "Invalid job array specification": 2067,
}
"""What the commands do not print and slurmrestd does; a text that is not here has no number."""
_RETRY_HINT = "Slurm's controller is down or starting; the gateway tries again by itself"


def submission_stdin(submission: Submission) -> bytes:
    """A shell script that gives its environment and the batch script to sbatch; for ``sh -s``.

    Nothing of it is seen in the host's list of processes but sbatch's own options.
    """
    exports = [f"export {name}={shlex.quote(value)}" for name, value in submission.environment.items()]
    end = f"END-OF-{submission.token}"
    words = shlex.join(_sbatch(submission))
    script = submission.script if submission.script.endswith("\n") else submission.script + "\n"
    # The job's PATH need not have Slurm's own programs, and what sshd set is not the job's.
    first = ("sbatch=$(command -v sbatch) || exit 127", "unset SSH_CLIENT SSH_CONNECTION SSH_TTY")
    return "\n".join((*first, *exports, f"exec \"$sbatch\" {words} <<'{end}'", f"{script}{end}", "")).encode()


def with_token(comment: str, token: str) -> str:
    """sbatch has no option for the admin_comment, so the token is the comment's last word."""
    return f"{comment} burst:{token}".strip()


def token_of(comment: str) -> str:
    """The token in a comment; "" if there is none."""
    found = _TOKEN.search(comment)
    return found[1] if found else ""


def refusal_of(done: Done, command: str) -> SchedulerError | NotFound:
    """Why a command ended with an error, in Slurm's own words."""
    lines = [_PREFIX.sub("", line) for line in done.err.decode(errors="replace").splitlines() if line.strip()]
    text = next((found["text"] for line in lines if (found := _REASON.search(line))), lines[-1] if lines else "")
    if _AWAY.search("\n".join(lines)):
        return SchedulerUnavailable(text, hint=_RETRY_HINT)
    if _NO_SUCH_JOB.search(text):
        return NotFound(text)
    return SchedulerRefused(text or f"{command} ended with {done.code}", errno=_NUMBERS.get(text))


def _sbatch(submission: Submission) -> Sequence[str]:
    """sbatch takes arguments of a script only after a file's name, and the here-document is a file."""
    comment = with_token(submission.options.get("comment", ""), submission.token)
    return [
        "--parsable",
        "--export=ALL",
        f"--chdir={submission.working_directory}",
        f"--comment={comment}",
        *(_word(name, value) for name, value in submission.options.items() if _is_slurms(name)),
        "/dev/stdin",
        *submission.arguments,
    ]


def _is_slurms(name: str) -> bool:
    return name not in _OF_THE_ENGINE and LONG[name].support in {Support.SUPPORTED, Support.PASSED}


def _word(name: str, value: str) -> str:
    bare = LONG[name].argument is Argument.NONE or (LONG[name].argument is Argument.OPTIONAL and not value)
    return f"--{name}" if bare else f"--{name}={value}"
