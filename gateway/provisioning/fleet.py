"""Fleet: the stored elastic nodes of a gateway, and the port that reads and moves them.

Invariant: a move is recorded only from the state and generation it was decided on; a late worker gets Conflict.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.jobs.job import Event
from gateway.provisioning.lifecycle import NodeState


@dataclass(frozen=True)
class ElasticNode:
    """One of Slurm's CLOUD nodes and the machine behind it, if there is one."""

    name: str
    generation: int
    """Counts the machines that this node has had; each launch is a new one."""
    state: NodeState
    offer: str
    since: datetime
    supply: str | None = None
    """Where its machine was ordered, "CLOUD/SIZE"; no other is asked before that order's outcome is known."""
    machine_id: str | None = None
    address: str | None = None
    public_addresses: tuple[str, ...] = ()
    join_token_hash: str | None = None
    join_until: datetime | None = None
    """Until when its join token is good."""
    public_key: Mapping[str, str] | None = None
    """The JWK of the key that its machine made and signs with; None until it has joined."""
    ssh_host_keys: tuple[str, ...] = ()
    """What its sshd proves itself with, as "TYPE BASE64"; from the join request that it signed."""
    lease_until: datetime | None = None
    wanted: bool = False
    """Slurm asked for it while its last machine was still ending."""
    wanted_by: int | None = None
    """Slurm's id of the job that it was last asked for."""
    wanted_with: int = 1
    """How many nodes are made together for that job, this one among them."""
    wanted_at: datetime | None = None
    job: int | None = None
    """Slurm's id of the job that its machine was made for, or that it runs."""
    owner: str = ""
    """Whose job it was made for; "" where nobody knows."""
    account: str = ""
    """Which account pays for that job."""
    gang: str | None = None
    """Token of the gang that its machine was ordered with."""
    gang_number: int | None = None
    """Its place in that gang, from 0."""
    ordered_at: datetime | None = None
    """When its present machine was first ordered where it is ordered now."""
    unheard_since: datetime | None = None
    """Since when Slurm does not hear from it, though it was in service."""
    lock: str = ""
    """HOLDER:WORD of the worker that calls a cloud for it; "" when nobody does."""
    lock_until: datetime | None = None
    reason: str = ""


@dataclass(frozen=True)
class Effect:
    """A machine that a late worker made: its node had been taken over, so no record knows it yet."""

    machine_id: str
    node: str
    generation: int
    token: str
    at: datetime


@dataclass(frozen=True)
class Change:
    """Of one node among many that change at once: ``facts`` are fields of ElasticNode, ``text`` says why it moves."""

    node: ElasticNode
    facts: Mapping[str, Any]
    text: str = ""


Tally = Mapping[tuple[str | None, str], int]
"""How many nodes there are, by supply and account."""


class Fleet(Protocol):
    """The stored nodes."""

    def add(self, name: str, offer: str, now: datetime) -> None:
        """Make a node known, OFF; one that is known stays as it is."""

    def get(self, name: str) -> ElasticNode:
        """One node. Raises NotFound."""

    def of_gang(self, gang: str, number: int) -> ElasticNode:
        """The node that has this place in the gang of this token. Raises NotFound."""

    def get_all(self, names: Collection[str]) -> Mapping[str, ElasticNode]:
        """Those of these names that there are, by name."""

    def all(self, states: Collection[NodeState] | None = None) -> tuple[ElasticNode, ...]:
        """Every node, or those in ``states``, by name."""

    def tally(self, states: Collection[NodeState]) -> Tally:
        """How many are in ``states``."""

    def move(self, node: ElasticNode, state: NodeState, now: datetime, text: str, **facts: Any) -> ElasticNode:
        """Record a legal move and say why; ``facts`` are fields of ElasticNode. Raises Conflict."""

    def move_all(self, changes: Sequence[Change], state: NodeState, now: datetime) -> tuple[ElasticNode, ...]:
        """``move`` for many, in few statements. Raises Conflict if one of them cannot; then none may be committed."""

    def note(self, node: ElasticNode, **facts: Any) -> ElasticNode:
        """Record facts without a move. Raises Conflict if the node moved meanwhile."""

    def note_all(self, changes: Sequence[Change]) -> tuple[ElasticNode, ...]:
        """``note`` for many, in few statements. Raises Conflict if one moved; then none may be committed."""

    def keep_effect(self, effect: Effect) -> None:
        """Remember an outcome that fits no record; the reaper reads them before anything else."""

    def effects(self) -> tuple[Effect, ...]:
        """Those that are not settled, oldest first."""

    def settle_effect(self, effect: Effect) -> None:
        """Forget it: its machine has ended, or a record knows it."""

    def tell(self, node: ElasticNode, now: datetime, kind: str, text: str) -> None:
        """Add to the timeline of its present generation."""

    def timeline(self, name: str) -> tuple[Event, ...]:
        """What happened to a node's present generation, oldest first."""
