"""Job and Attempt: what was submitted, and each time that Slurm ran it.

Invariant: a job only moves forward (``stages``); a requeue, and each task of an array, is an Attempt of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.jobs.stages import Stage
from gateway.jobs.terms import Terms

NO_TASK = -1
"""``Attempt.task`` of a job that is no array."""


@dataclass(frozen=True)
class Resources:
    """What one task of the job asks for, as far as it decides the offer and the price."""

    nodes: int = 1
    cpus_per_node: int = 1
    memory_mb_per_node: int = 0
    """0: nothing was asked."""
    gpus_per_node: int = 0
    time_limit_s: int = 3600
    array_tasks: int = 1
    max_nodes: int = 0
    """Most nodes of a range (``--nodes=2-4``); 0: no more than it needs."""
    tasks: int = 0
    """Tasks of ``--ntasks``, spread over the nodes; 0: not given."""
    cpus_per_task: int = 1
    tasks_per_node: int = 0
    """Most tasks on one node; 0: no limit."""
    gpus: int = 0
    """GPUs of the whole job; 0: not given."""
    memory_mb_per_cpu: int = 0
    gpu_types: tuple[str, ...] = ()
    """Slurm's names of the GPUs that it will have, and no others; none: any."""


@dataclass(frozen=True)
class StageIn:
    """One input: where it comes from, where the job finds it below its working directory."""

    source: str
    destination: str
    line: int | None = None
    """Line of the script that asks for it, from 1."""
    key: str | None = None
    """Object key in the store; None until resolved."""
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class UnitOrder:
    """Simulation units that each task may deliver at most: what was asked, and price and meter as they were quoted."""

    code: str
    quantity: int
    line: int | None = None
    """Line of the script that asks for them, from 1."""
    title: str = ""
    """"" and 0 until it is quoted."""
    price_ucr: int = 0
    meter: str = ""
    file: str = ""
    pattern: str = ""


@dataclass(frozen=True)
class BurstOptions:
    """What ``#BURST`` lines asked for."""

    stage_in: tuple[StageIn, ...] = ()
    stage_out: tuple[str, ...] = ()
    """Globs below the working directory; none: every new or changed file."""
    account_to: str | None = None
    max_cost_ucr: int | None = None
    units: UnitOrder | None = None
    """None: node time is paid."""
    output_bytes: int = 0
    """What a task will leave, by its owner's estimate; 0: not told."""
    on_demand: bool = False
    """Not to be put on machines that are taken back at short notice."""


@dataclass(frozen=True)
class JobRequest:
    """A parsed submission: Slurm's options by their long names, and what the gateway needs of them."""

    name: str
    script: str
    arguments: tuple[str, ...]
    options: Mapping[str, str]
    """Canonical long option name → value as given ("" for a flag), last one wins, precedence applied."""
    resources: Resources
    burst: BurstOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    submit_directory: str = "/"
    in_place: bool = False
    """Runs in ``submit_directory`` on a file system that its nodes share with the submitter, not in a folder of its
    own."""
    site_directory: str = ""
    """Working directory of a job that came by a site's own sbatch; "" for one that the gateway submits itself."""
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True)
class Job:
    """A submission on its way along the route. Money in micro-credits, times in UTC."""

    id: str
    """The gateway's own id, 32 hex digits; BURST_JOB_ID in the job."""
    scheduler_id: int | None
    """Slurm's job id, the one that users see."""
    user: str
    account: str
    request: JobRequest
    offer: str
    stage: Stage
    state: str
    """Slurm's state name: PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, TIMEOUT, …"""
    reason: str
    """Why it waits or how it ended, as a sentence."""
    hold_ucr: int
    authorisation: str
    """Digest of the signed request that it was submitted under."""
    submitted_at: datetime
    ended_at: datetime | None = None
    cancel_requested: bool = False
    exit_code: int | None = None
    stop_reason: str = ""
    """Why the gateway itself ended it; "" when it did not."""

    def work(self, parent: str) -> str:
        """Its working directory on the nodes; ``parent`` is the parent of the gateway's own jobs' folders."""
        request = self.request
        own = request.submit_directory if request.in_place else f"{parent}/{self.id}/work"
        return request.site_directory or own


@dataclass(frozen=True)
class Attempt:
    """One run of a job, or of one task of an array, by Slurm."""

    job: str
    task: int
    number: int
    """Slurm's restart count: 0 for the first run."""
    scheduler_id: int
    state: str
    nodes: tuple[str, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    manifest_sha256: str | None = None
    """Digest of the merged manifest once it is written."""
    stdout: str = ""
    """Path on its node, as Slurm expanded it; "" until Slurm has told."""
    stderr: str = ""

    @property
    def label(self) -> str:
        """NUMBER, or NUMBER-TASK for a task of an array."""
        return str(self.number) if self.task == NO_TASK else f"{self.number}-{self.task}"

    @property
    def prefix(self) -> str:
        """Where this attempt's objects live in the store; ends in a slash."""
        return f"jobs/{self.job}/{self.label}/"


@dataclass(frozen=True)
class Event:
    """One line of a job's or node's timeline."""

    at: datetime
    kind: str
    text: str
