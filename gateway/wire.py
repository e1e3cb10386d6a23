"""What crosses the network between gateway, commands, notebooks and nodes.

Invariant: requests forbid unknown fields; money is integer micro-credits in fields ending in ``_ucr``; times are
aware UTC; digests are lower-case SHA-256 hex.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

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


class DeviceRequest(Request):
    """A login that a person approves in a browser (RFC 8628); the private key stays where it was made."""

    public_key: dict[str, str]
    """JWK (RFC 8037: kty OKP, crv Ed25519)."""
    host: str = Field(min_length=1, max_length=255, pattern=ONE_LINE)
    """The name of the computer that asks, as it says itself; shown to the person who approves."""


class DeviceLogin(View):
    """What the person is told, and how often to ask for the outcome. Names are RFC 8628's."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DevicePoll(Request):
    """Asks what became of a login."""

    device_code: str = Field(min_length=1, max_length=128, pattern=ONE_LINE)


class Identity(View):
    """Who a session belongs to."""

    user: str
    role: str
    account: str
    session: str
    expires_at: datetime


class SlurmTokenRequest(Request):
    """Asks for a token with which clients of Slurm's REST API may look."""

    lifespan_s: int | None = Field(default=None, ge=1, le=31_536_000)
    """None: as long as the session."""


class SlurmToken(View):
    """Goes into X-SLURM-USER-TOKEN, with ``user`` in X-SLURM-USER-NAME."""

    user: str
    token: str
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
    in_place: bool = False
    """Run where it was submitted, its paths and environment as they are: for nodes that see the submitter's files."""


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


class UnitView(View):
    """A simulation unit that can be ordered in place of node time."""

    code: str
    title: str
    price_ucr: int
    meter: str
    file: str
    pattern: str
    most_node_seconds: int | None


class BudgetRequest(Request):
    """An account's budget. Without ``since`` it keeps its day; a new one counts from now on."""

    limit_ucr: int = Field(ge=0, le=MOST_UCR)
    stops: bool = False
    since: datetime | None = None


class BudgetView(View):
    """A budget and what counts against it: charged, and held by jobs that are not settled."""

    account: str
    limit_ucr: int
    stops: bool
    since: datetime
    set_by: str
    charged_ucr: int
    held_ucr: int


class ReportRow(View):
    """What the jobs of one group used and paid; ``keys`` are its values in the dimensions of the report."""

    keys: tuple[str, ...]
    jobs: int
    spend_ucr: int
    units: dict[str, int]


class Report(View):
    """Spending by group; the rows sum to the totals."""

    by: tuple[str, ...]
    rows: tuple[ReportRow, ...]
    jobs: int
    spend_ucr: int


class PublishRequest(Request):
    """What is to be said of a job's outputs besides what the gateway knows."""

    title: str = Field(min_length=1, max_length=500, pattern=ONE_LINE)
    creators: tuple[Annotated[str, Field(min_length=1, max_length=300, pattern=ONE_LINE)], ...] = Field(
        min_length=1, max_length=100
    )
    """Each "Family, Given <ORCID iD>"; the ORCID iD may be left out."""
    description: str = Field(default="", max_length=10_000, pattern=NO_NUL)
    access: Literal["open", "restricted"] = "restricted"
    licence: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.+-]{1,64}$")
    """SPDX identifier."""
    related: tuple[Annotated[str, Field(max_length=340, pattern=ONE_LINE)], ...] = Field(default=(), max_length=100)
    """Each "RELATION=DOI" or "RELATION=URL"."""


class PublicationView(View):
    """A publication; ``readers`` are told to its owner only."""

    id: str
    doi: str
    state: str
    access: str
    url: str
    """Of its landing page."""
    job: str
    title: str
    user: str
    files: int
    bytes: int
    manifest_sha256: str
    readers: tuple[str, ...] = ()


class GrantRequest(Request):
    """A user who may read a publication's files."""

    user: str = Field(min_length=1, max_length=64, pattern=ONE_LINE)


class PublishedFiles(View):
    """A publication's files, each with a presigned URL."""

    publication: str
    files: tuple[OutputFile, ...]


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


class SharedFiles(View):
    """Whether nodes see the files of the machine that the gateway runs on, and how to prove that one is there too.

    ``witness`` is a file that only the user whom jobs run as can read, ``sha256`` what is in it.
    """

    shared: bool
    witness: str = ""
    sha256: str = ""


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


class JobStore(View):
    """Where a job finds its objects in the store, for programs that use its keys."""

    bucket: str
    output_prefix: str
    """What it may write below; ends in a slash."""
    inputs: dict[str, str]
    """Destination in the working directory → key."""


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
    store: JobStore | None = None
    """None where the store gives jobs no keys."""
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
