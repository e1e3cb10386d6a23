"""Placement: which of a size's supplies a job's machines are asked of, in which order, and what the job costs there.

Invariant: a pure function of need, supplies and prices. What may not be asked comes last and says why; equal costs keep
the order of the settings; costs are rounded up, machines and data each by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import CloudError, CloudInvalid
from gateway.jobs.terms import Rates
from gateway.node_types import Order
from gateway.provisioning.node import Market
from gateway.provisioning.prices import Tag
from gateway.provisioning.supply import Supply

HOUR_S: Final = 3600


@dataclass(frozen=True)
class Need:
    """What a job takes: ``nodes`` for each of ``tasks``, for ``seconds`` at most.

    Every node of a task fetches all ``input_bytes``; a task leaves ``output_bytes``, as far as that is known.
    """

    seconds: int = HOUR_S
    nodes: int = 1
    tasks: int = 1
    input_bytes: int = 0
    output_bytes: int = 0
    spot: bool = True
    """Whether it may be put on machines that are taken back at short notice."""


@dataclass(frozen=True)
class Candidate:
    """A supply with its prices of now; ``refusal`` is why its price keeps it from being asked."""

    supply: Supply
    tag: Tag
    rates: Rates = field(default_factory=Rates)
    refusal: CloudError | None = None


@dataclass(frozen=True)
class Choice:
    """A supply in its place in the order; of one without a price the costs are 0 and mean nothing."""

    candidate: Candidate
    compute_ucr: int
    egress_ucr: int
    refusal: CloudError | None

    @property
    def supply(self) -> Supply:
        """Which."""
        return self.candidate.supply

    @property
    def total_ucr(self) -> int:
        """Machines and data together."""
        return self.compute_ucr + self.egress_ucr


def rank(need: Need, candidates: Sequence[Candidate], order: Order) -> tuple[Choice, ...]:
    """All of them, the one to ask first in front."""
    choices = [_choice(need, candidate) for candidate in candidates]
    if order == "cheapest":
        return tuple(sorted(choices, key=lambda choice: (choice.refusal is not None, choice.total_ucr)))
    return tuple(sorted(choices, key=lambda choice: choice.refusal is not None))


def compute_ucr(need: Need, price_ucr_per_hour: int) -> int:
    """What all machines of the job cost at most, each task rounded up by itself."""
    return need.tasks * -(-price_ucr_per_hour * need.nodes * need.seconds // HOUR_S)


def egress_ucr(need: Need, rates: Rates) -> int:
    """What the job's data costs on its way, each task rounded up by itself."""
    return need.tasks * rates.cost_ucr(need.nodes * need.input_bytes, need.output_bytes)


def _choice(need: Need, candidate: Candidate) -> Choice:
    refusal = candidate.refusal
    if refusal is None and candidate.supply.market is Market.SPOT and not need.spot:
        refusal = CloudInvalid("the job may not be put on machines that are taken back")
    compute = compute_ucr(need, candidate.tag.ucr or 0)
    return Choice(candidate, compute, egress_ucr(need, candidate.rates), refusal)
