"""Jobs: submission, inputs, states, outputs."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gateway.wire.form import MOST_BYTES, NO_NUL, SHA256, Request, View


class InputFile(Request):
    """One stage-in source, resolved by the client; ``key`` as answered by the upload call."""

    source: str = Field(max_length=4096, pattern=NO_NUL)
    destination: str = Field(max_length=1024, pattern=NO_NUL)
    sha256: str = Field(pattern=SHA256)
    size: int = Field(ge=0, le=MOST_BYTES)


class UploadRequest(Request):
    """Asks where to put an input. Inputs are named by their digest, so equal files travel once."""

    sha256: str = Field(pattern=SHA256)
    size: int = Field(ge=0, le=MOST_BYTES)


class Upload(View):
    """Where to PUT it; ``url`` is None when the store has it already."""

    key: str
    url: str | None


class SubmitRequest(Request):
    """A job as sbatch has it: script text, command line, the SBATCH_* environment."""

    script: str
    """At most MAX_SCRIPT_BYTES in UTF-8; a longer one is refused in Slurm's words."""
    script_name: str = Field(default="sbatch", max_length=1024, pattern=NO_NUL)
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """sbatch and burst options of the command line, as typed: ["-N2", "--time=5"]."""
    environment: dict[str, str] = Field(default_factory=dict)
    """SBATCH_* variables, and the variables that --export names."""
    submit_directory: str = Field(default="/", max_length=4096, pattern=NO_NUL)
    inputs: tuple[InputFile, ...] = ()
    in_place: bool = False
    """Run where it was submitted, its paths and environment as they are: for nodes that see the submitter's files."""


class EventView(View):
    """One line of a timeline."""

    at: datetime
    kind: str
    text: str


class AttemptView(View):
    """One run of a job or array task."""

    task: int | None
    number: int
    scheduler_id: int
    state: str
    nodes: tuple[str, ...]
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    staged_out: bool


class JobView(View):
    """A job as its owner sees it."""

    id: int | None
    """Slurm's job id."""
    burst_id: str
    name: str
    user: str
    account: str
    offer: str
    stage: str
    state: str
    reason: str
    exit_code: int | None
    hold_ucr: int
    submitted_at: datetime
    ended_at: datetime | None
    finished: bool
    attempts: tuple[AttemptView, ...] = ()
    timeline: tuple[EventView, ...] = ()


class JobPage(View):
    """A page of jobs, newest first; ``next`` is the cursor of the following page."""

    jobs: tuple[JobView, ...]
    next: str | None = None


class OutputFile(View):
    """One staged-out file; ``url`` is a presigned GET."""

    path: str
    size: int
    sha256: str
    task: int | None
    url: str


class Outputs(View):
    """All files of a job's latest attempts."""

    job: int
    files: tuple[OutputFile, ...]
