"""What the commands share on their help pages: --json, a job's ID, examples.

Invariant: nothing here loads the client, so commands that need none start fast.
"""

from __future__ import annotations

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
scope_option = click.option(
    "--scope",
    multiple=True,
    metavar="SCOPE",
    help="What the login may do, such as jobs:read; repeat it for more. [default: everything that you may]",
)
job_argument = click.argument("job", metavar="ID")


def job_and_path(target: str) -> tuple[str, str]:
    """``JOB[:PATH]`` as both; no PATH is everything that the job left."""
    job, _, path = target.partition(":")
    return job, path


def examples(*lines: str) -> str:
    """An epilog that shows how a command is used, one example a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
