"""Node: one elastic machine, its order, and NodeProvider, the port to a cloud.

Invariant: a node's order carries a deterministic token; the same order sent twice makes one machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.provisioning.gang import GangOrder

TAG_CLUSTER = "gw-cluster"
TAG_NODE = "gw-node"
TAG_GENERATION = "gw-generation"
TAG_TOKEN = "gw-intent"  # noqa: S105 - a name of a tag
TAG_JOB = "gw-job"
TAG_OWNER = "gw-owner"
TAG_LEASE = "gw-lease-until"
TAG_GANG = "gw-gang"
TAG_FIRST = "gw-gang-first"
"""The number of the first machine of the call that made this one: clouds count from 0 in each call."""


class Market(StrEnum):
    """On what terms a cloud gives a machine."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    """Cheaper, and taken back at short notice."""


@dataclass(frozen=True)
class NodeOrder:
    """What to create. ``token`` = H(cluster, node, generation, supply)."""

    cluster: str
    node: str
    generation: int
    size: str
    user_data: str
    supply: str = ""
    """The size's full name among several clouds, "CLOUD/SIZE[@ZONE][+spot]"."""
    zone: str = ""
    """The cloud's name of it; "": the cloud chooses."""
    market: Market = Market.ON_DEMAND
    job: str = ""
    owner: str = ""
    lease_until: datetime | None = None
    """Until when the machine may run unless its lease is renewed; what cleans up without a gateway reads it."""

    @property
    def token(self) -> str:
        """Idempotency token, 32 hex digits: the same try has the same token, a new try another."""
        text = "\0".join((self.cluster, self.node, str(self.generation), self.supply or self.size))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags given in the create call itself."""
        return {
            TAG_CLUSTER: self.cluster,
            TAG_NODE: self.node,
            TAG_GENERATION: str(self.generation),
            TAG_TOKEN: self.token,
            **({TAG_JOB: self.job} if self.job else {}),
            **({TAG_OWNER: self.owner} if self.owner else {}),
            **({TAG_LEASE: f"{self.lease_until:%Y-%m-%dT%H:%M:%SZ}"} if self.lease_until else {}),
        }


class MachineState(StrEnum):
    """A machine's state as its cloud tells it; STOPPED still costs money."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    TERMINATING = "terminating"
    ERROR = "error"


@dataclass(frozen=True)
class Machine:
    """One machine of a cloud that carries our tags."""

    id: str
    node: str
    generation: int
    token: str
    state: MachineState
    address: str | None
    created_at: datetime | None = None
    public_addresses: tuple[str, ...] = ()
    """Those by which others see it; ``address`` is the private one where it has one."""
    no_room: str = ""
    """What its cloud says if it took the order and then had no room; the machine is an empty record."""
    zone: str = ""
    market: Market = Market.ON_DEMAND
    preempted: str = ""
    """What its cloud says if it takes the machine back, or has taken it."""
    gang: str = ""
    """Token of the gang that it was made with by one call; its node is then told by ``number`` alone."""
    number: int | None = None
    """Its place in its gang, from 0."""
    boot_s: float = 0.0
    """Seconds that it may take to boot where its cloud knows that it takes long; 0: as usual."""


class LeftoverKind(StrEnum):
    """What a machine may leave behind that goes on costing."""

    DISK = "disk"
    INTERFACE = "interface"
    ADDRESS = "address"
    KEY = "key"


@dataclass(frozen=True)
class Leftover:
    """Something of a cloud that carries our tags and belongs to no machine any more."""

    id: str
    kind: LeftoverKind
    node: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True)
class Size:
    """One size of a cloud. Price in micro-credits for one node for one hour; None: the price book has it."""

    name: str
    cores: int
    memory_mb: int
    gpus: int
    price_ucr_per_hour: int | None


class NodeProvider(Protocol):
    """A cloud. Methods raise the CloudError of their class; they never retry by themselves."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def sizes(self) -> tuple[Size, ...]:
        """What can be had."""

    def create(self, order: NodeOrder) -> Machine:
        """Create the machine, or return the live one that the same token already made."""

    def create_gang(self, gang: GangOrder) -> tuple[Machine, ...]:
        """Create all of them, or none and raise; machine i is that of order i.

        The same token again returns the same machines. After Ambiguous, or an error that is retryable, some may be
        there: the same gang is to be ordered again, or its machines ended by the listing.
        """

    def machines(self, cluster: str) -> tuple[Machine, ...]:
        """Every live machine tagged with ``cluster``, all pages; destroyed ones are not in it."""

    def destroy(self, machine_id: str) -> None:
        """End the machine and all that belongs to it; ending one that is gone is no error."""

    def console(self, machine_id: str) -> str:
        """The end of its console, for a failed boot; "" if the cloud has none."""

    def leftovers(self, cluster: str) -> tuple[Leftover, ...]:
        """What machines tagged with ``cluster`` left behind; none where a cloud ends all with the machine."""

    def clean(self, leftover: Leftover) -> None:
        """Remove it; one that is gone is no error."""
