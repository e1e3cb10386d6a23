"""Nodes: what agents of nodes and slurmctld's own programs send, and what they are answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, Field

from gateway.wire.form import MOST_BYTES, ONE_LINE, SHA256, Request, SlurmId, View
from gateway.wire.jobs import EventView

SshKey = Annotated[str, Field(max_length=1024, pattern=r"^[a-z0-9@.-]{1,64} [A-Za-z0-9+/]{1,900}={0,2}$")]
"""A public key of SSH as "TYPE BASE64", on one line (sshd(8))."""


OneLine = Annotated[str, Field(max_length=500, pattern=ONE_LINE)]


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
    supply: str | None = None
    """Where its machine was ordered, "CLOUD/SIZE[@ZONE][+spot]"."""
    ordered_at: datetime | None = None
    """When its present machine was ordered; None before that."""
    cost_ucr: int = 0
    """What its present machine has cost since, at its size's price; jobs pay for their own time on it."""
    timeline: tuple[EventView, ...] = ()


class GpuReport(Request):
    """One card that works."""

    index: int = Field(ge=0, le=1023)
    kind: str = Field(max_length=200, pattern=ONE_LINE)
    uuid: str = Field(default="", max_length=100, pattern=ONE_LINE)
    memory_mb: int = Field(default=0, ge=0, le=MOST_BYTES)


class InventoryReport(Request):
    """What a node found in its machine; ``health`` has a sentence for each fault."""

    cores: int = Field(ge=0, le=1 << 20)
    memory_mb: int = Field(ge=0, le=MOST_BYTES)
    gpus: tuple[GpuReport, ...] = Field(default=(), max_length=64)
    driver: str = Field(default="", max_length=100, pattern=ONE_LINE)
    health: tuple[OneLine, ...] = Field(default=(), max_length=64)
    agent_sha256: str = Field(default="", max_length=64, pattern=ONE_LINE)


class JoinRequest(Request):
    """A machine trades its one-time token, with the key that it made; once, for one node, within minutes.

    The request is signed with that key, as node:NAME:GENERATION. A machine that was made with others by one call knows
    its gang and number only, and signs as gang:TOKEN:NUMBER.
    """

    node: str = Field(default="", max_length=64, pattern=ONE_LINE)
    gang: str = Field(default="", max_length=32, pattern=r"^[0-9a-f]*$")
    number: int = Field(default=0, ge=0, lt=1_000_000)
    token: str = Field(max_length=256)
    public_key: dict[str, str]
    """JWK of an Ed25519 key."""
    ssh_host_keys: tuple[SshKey, ...] = Field(default=(), max_length=8)
    inventory: InventoryReport | None = None


class JoinReply(View):
    """All that a node needs to become one of Slurm's nodes."""

    node: str
    generation: int
    voucher_key: str
    """Base64url: with it the node checks that what it is told to run comes from the gateway."""
    audience: str
    slurm_conf_server: str
    munge_key: str
    """Base64."""
    lease_seconds: int
    grace_seconds: int
    """How long a job may go on after a lease that is over."""
    shared_filesystem: bool
    job_directory: str
    job_user: str
    quarantined: str = ""
    """Why the node is not to start slurmd: what its size promised and it does not have."""
    principals: dict[str, str] = Field(default_factory=dict)
    """Account → as whom a certificate opens it, for a machine that did not know which node it is."""


class NodeLoginRequest(Request):
    """Somebody wants to log in to a node, with a key made for that."""

    public_key: SshKey


class NodeLogin(View):
    """A certificate for that key, good for minutes and for one machine, and how to know the machine."""

    node: str
    user: str
    """The account on the node."""
    address: str
    port: int
    host_keys: tuple[str, ...]
    """What its sshd proves itself with, as "TYPE BASE64"; any other is to be refused."""
    certificate: str
    expires_at: datetime


class NodeCreateRequest(Request):
    """An administrator wants machines before a job does: one node by its name, or ``count`` of a size."""

    name: str = Field(max_length=64, pattern=ONE_LINE)
    count: int = Field(default=1, ge=1, le=1000)


class NodeDrainRequest(Request):
    """Why a node is to take no more jobs, as Slurm shows it."""

    reason: str = Field(min_length=1, max_length=200, pattern=ONE_LINE)


class NodeDestroyRequest(Request):
    """End a node's machine; ``now``: its jobs do not end first, Slurm requeues them."""

    now: bool = False


class ConsoleView(View):
    """The end of what a machine printed while it booted."""

    node: str
    machine: str
    text: str


class VerdictView(View):
    """What the gateway makes of one node, from its own record, Slurm and the cloud."""

    node: str
    state: str
    slurm: tuple[str, ...]
    """Slurm's words for it; none when Slurm was not read."""
    cloud: str
    """Its machine's state; "none": its cloud lists none, or "not read"."""
    act: str
    text: str


class OrphanView(View):
    """A machine that carries this cluster's tags and belongs to no node; seen twice, it is ended."""

    id: str
    node: str
    generation: int
    state: str
    created_at: datetime | None


class LeftoverView(View):
    """A disk, interface, address or key that a machine left behind."""

    id: str
    kind: str
    node: str
    created_at: datetime | None


class ReconciliationView(View):
    """What the gateway would do next."""

    at: datetime
    unread: dict[str, str]
    """Source → why it could not be read; nothing is ended on its account."""
    verdicts: tuple[VerdictView, ...]
    orphans: tuple[OrphanView, ...]
    leftovers: tuple[LeftoverView, ...]


class LeaseRequest(Request):
    """A node renews its lease, and says what it has now; nothing, while it still looks."""

    inventory: InventoryReport | None = None


class LeaseReply(View):
    """A node's lease is good for so long; a node that is to ``drain`` will be ended."""

    lease_seconds: int
    grace_seconds: int
    drain: bool


class PreemptedRequest(Request):
    """A node's cloud has announced that it takes the machine back, or, as ``advice``, that it may do so soon."""

    at: AwareDatetime | None = None
    """When; None if the cloud does not say."""
    words: str = Field(max_length=200, pattern=ONE_LINE)
    advice: bool = False


class LeaveRequest(Request):
    """A node ends itself, and why."""

    reason: str = Field(max_length=200, pattern=ONE_LINE)


class Nothing(View):
    """Done; there is nothing to say."""


class PrologRequest(Request):
    """A node is about to run its part of a job; ``nonce`` comes back in what it is to check the answer by."""

    scheduler_id: SlurmId
    nonce: str = Field(default="", max_length=64)


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
    specification: str = ""
    """A JWS (HS256, the node's ``voucher_key``) over the digests of all the rest and of the batch script."""


class PrologFailedRequest(Request):
    """A node could not prepare a job: its inputs cannot be had, or it is not what the gateway vouched for."""

    scheduler_id: SlurmId
    tampered: bool = False
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


class ResumeRequest(Request):
    """ResumeProgram: node names, and Slurm's resume file if it had one."""

    nodes: tuple[str, ...]
    resume_file: dict[str, Any] = Field(default_factory=dict)


class SuspendRequest(Request):
    """SuspendProgram or ResumeFailProgram: node names."""

    nodes: tuple[str, ...]
