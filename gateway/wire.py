"""What crosses the network between gateway, commands, notebooks and nodes.

Invariant: requests forbid unknown fields; money is integer micro-credits in fields ending in ``_ucr``; times are
aware UTC; digests are lower-case SHA-256 hex.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

MAX_SCRIPT_BYTES = 4 * 1024 * 1024
"""slurm.conf's max_script_size, as Slurm has it by default."""

SHA256 = r"^[0-9a-f]{64}$"

ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
NO_NUL = r"^[^\x00]*$"
"""PostgreSQL stores no NUL, and no path has one."""

MOST_UCR = 10**15
"""A thousand million credits: more is a slip of the finger, and far below what a 64-bit sum can hold."""

MOST_BYTES = 5 * 1024**4
"""The largest object of S3."""

SlurmId = Annotated[int, Field(ge=1, lt=2**32)]
"""Slurm's job ids are unsigned 32-bit numbers."""


class Request(BaseModel):
    """Something sent to the gateway."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """Something that the gateway answers; a newer gateway may send more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class LoginRequest(Request):
    """A password for a session certificate; the private key stays where it was made."""

    user: str = Field(min_length=1, max_length=64, pattern=ONE_LINE)
    password: str = Field(min_length=1, max_length=1024)
    public_key: dict[str, str]
    """JWK (RFC 8037: kty OKP, crv Ed25519)."""


class Session(View):
    """A session: ``id`` is the ``kid`` of its signatures."""

    id: str
    user: str
    audience: str
    """What ``aud`` of every signature must be."""
    expires_at: datetime
    certificate: str


class Identity(View):
    """Who a session belongs to."""

    user: str
    role: str
    account: str
    session: str
    expires_at: datetime


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


class QuoteLine(View):
    """One priced line."""

    text: str
    quantity: float
    unit: str
    amount_ucr: int


class Quote(View):
    """The most that a job can cost, and why."""

    offer: str
    lines: tuple[QuoteLine, ...]
    total_ucr: int
    balance_ucr: int
    account: str


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


class Receipt(View):
    """What a job used and paid; signed by the gateway."""

    number: str
    job: int | None
    burst_id: str
    account: str
    lines: tuple[QuoteLine, ...]
    held_ucr: int
    charged_ucr: int
    refunded_ucr: int
    settled_at: datetime
    authorisation: str
    signature: str


class Balance(View):
    """An account's money."""

    account: str
    available_ucr: int
    held_ucr: int


class CreditRequest(Request):
    """Credits given to an account by an admin."""

    amount_ucr: int = Field(gt=0, le=MOST_UCR)
    memo: str = Field(min_length=1, max_length=200, pattern=ONE_LINE)


class NodeView(View):
    """An elastic node."""

    name: str
    generation: int
    state: str
    offer: str
    machine: str | None
    address: str | None
    job: int | None
    reason: str
    since: datetime
    lease_until: datetime | None
    timeline: tuple[EventView, ...] = ()


class OfferView(View):
    """What can be had, and for how much."""

    name: str
    provider: str
    cores: int
    memory_mb: int
    gpus: int
    max_nodes: int
    in_use: int
    price_ucr_per_hour: int


class Problem(View):
    """An error as RFC 9457 has it, with the gateway's own fields."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    field: str | None = None
    line: int | None = None
    exit_code: int | None = None
    retryable: bool = False


# ---------------------------------------------------------------- nodes and running jobs


class JoinRequest(Request):
    """A node trades its one-time token for its secrets; once, for one node, within minutes."""

    node: str = Field(max_length=64, pattern=ONE_LINE)
    token: str = Field(max_length=256)
    inventory: dict[str, JsonValue] = Field(default_factory=dict)


class JoinReply(View):
    """All that a node needs to become one of Slurm's nodes."""

    node: str
    generation: int
    secret: str
    """Key of its signatures (HS256), base64url; ``kid`` is "node:NAME:GENERATION"."""
    audience: str
    slurm_conf_server: str
    munge_key: str
    """Base64."""
    lease_seconds: int
    shared_filesystem: bool
    job_directory: str


class LeaseReply(View):
    """A node's lease is good for so long; a node that is to ``drain`` will be ended."""

    lease_seconds: int
    drain: bool


class Nothing(View):
    """Done; there is nothing to say."""


class PrologRequest(Request):
    """A node is about to run its part of a job."""

    scheduler_id: SlurmId


class InputView(View):
    """One input for a job's working directory."""

    destination: str
    size: int
    sha256: str
    url: str


class PrologReply(View):
    """What the node does before the job starts."""

    burst_id: str
    attempt: str
    """``NUMBER`` or ``NUMBER-TASK``: the last part of the store prefix."""
    directory: str
    user: str
    leader: bool
    """Whether this node is the job's first: on a shared file system only it stages."""
    inputs: tuple[InputView, ...]
    stage_out: tuple[str, ...]
    credential: str
    """The job's own JWT."""
    environment: dict[str, str]
    work: str | None = None
    """The job's working directory, where it is not DIRECTORY/work: a site's own, which is only looked at."""


class PrologFailedRequest(Request):
    """A node could not prepare a job: its inputs cannot be had."""

    scheduler_id: SlurmId
    error: str = Field(max_length=4096)


class PresignRequest(Request):
    """A job asks, under its own credential, where to put outputs. Paths are relative to its prefix."""

    paths: tuple[str, ...] = Field(max_length=1000)


class PresignReply(View):
    """One PUT URL a path, in the same order."""

    urls: tuple[str, ...]


class ManifestEntry(Request):
    """One staged-out file: path as the user sees it, key relative to the attempt's prefix."""

    path: str = Field(max_length=4096)
    key: str
    size: int = Field(ge=0, le=MOST_BYTES)
    sha256: str = Field(pattern=SHA256)


class EpilogRequest(Request):
    """A node has staged out its part; sent after the last byte is in the store."""

    scheduler_id: SlurmId
    attempt: str
    files: tuple[ManifestEntry, ...]
    errors: tuple[str, ...] = ()


# ---------------------------------------------------------------- slurmctld's programs


class ResumeRequest(Request):
    """ResumeProgram: node names, and Slurm's resume file if it had one."""

    nodes: tuple[str, ...]
    resume_file: dict[str, Any] = Field(default_factory=dict)


class SuspendRequest(Request):
    """SuspendProgram or ResumeFailProgram: node names."""

    nodes: tuple[str, ...]
