"""SimulatedMachine: a machine of a simulated cloud, how it boots, and what its node's agent does.

Invariant: it counts and costs from the moment that it is made until its cloud has forgotten it, stopped or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.provisioning.node import Machine, MachineState, NodeOrder


@dataclass(frozen=True)
class BootPlan:
    """What will become of a machine. ``boot_s`` None: its system never runs; ``join_s`` None: its agent never asks."""

    boot_s: float | None = 20.0
    join_s: float | None = 10.0
    slurmd_s: float | None = 5.0
    """From its join to the first word of its slurmd."""
    ending_s: float = 15.0
    no_room: bool = False
    leaves_disk: bool = False
    short: bool = False
    """It has less than its size promises, and its agent says so when it joins."""
    skew: timedelta = timedelta()
    """What its clock, and its cloud's word about when it was made, is wrong by."""


@dataclass(eq=False)
class SimulatedMachine:
    """One machine. Times are virtual seconds."""

    id: str
    cloud: str
    order: NodeOrder
    zone: str
    made_at: float
    created_at: datetime
    plan: BootPlan = field(default_factory=BootPlan)
    gang: str = ""
    number: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    state: MachineState = MachineState.PENDING
    no_room: str = ""
    preempted: str = ""
    joined: bool = False
    answers: bool = False
    """Its slurmd is up and can be reached."""
    leased_at: float = 0.0
    gone_at: float | None = None
    made_by_order: bool = True
    """False: somebody made it by hand, with our tags."""
    forgotten: bool = False
    """Its cloud had forgotten that the token had made another."""

    @property
    def outer_id(self) -> str:
        """As the gateway knows it."""
        return f"{self.cloud}/{self.id}"

    @property
    def key(self) -> tuple[str, str]:
        """What a repeated order is told by."""
        return self.gang or self.order.token, self.order.node

    @property
    def node(self) -> tuple[str, int]:
        """The node and the generation that it was made for."""
        return self.order.node, self.order.generation

    @property
    def healthy(self) -> bool:
        """Nothing is wrong with it: its end would be a loss."""
        return self.state in {MachineState.PENDING, MachineState.RUNNING} and not self.preempted

    def as_listed(self) -> Machine:
        """What its cloud tells of it."""
        return Machine(
            id=self.id,
            node="" if self.gang else self.order.node,
            generation=0 if self.gang else self.order.generation,
            token=self.gang or self.order.token,
            state=self.state,
            address=f"10.0.0.{self.id.rpartition('-')[2]}",
            created_at=self.created_at,
            no_room=self.no_room,
            zone=self.zone,
            market=self.order.market,
            preempted=self.preempted,
            gang=self.gang,
            number=self.number,
        )
