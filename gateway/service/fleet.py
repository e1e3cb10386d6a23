"""FleetService: nodes and offers as people see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.provisioning import figures
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.lifecycle import NodeState
from gateway.work import Works


@dataclass(frozen=True)
class FleetService:
    """The fleet, read only."""

    reads: Works
    prices: Callable[[], Mapping[str, int]]
    """Supply, or size, → micro-credits for one machine for one hour, where it is known."""
    now: Callable[[], datetime]

    def views(self, caller: Reader) -> list[wire.NodeView]:
        """Every node that has, or is about to have, a machine."""
        demand(authorise(caller, Action.SEE_NODES))
        with self.reads() as work:
            prices = self.prices()
            return [self._view(work.fleet, node, prices) for node in work.fleet.all() if _exists(node)]

    def view(self, caller: Reader, name: str) -> wire.NodeView:
        """One node, with or without a machine. Raises NotFound."""
        demand(authorise(caller, Action.SEE_NODES))
        with self.reads() as work:
            return self._view(work.fleet, work.fleet.get(name), self.prices())

    def count(self) -> None:
        """Bring what /metrics tells of the nodes up to date."""
        with self.reads() as work:
            figures.count_nodes(work.fleet.all(), self.prices())

    def _view(self, fleet: Fleet, node: ElasticNode, prices: Mapping[str, int]) -> wire.NodeView:
        price_ucr = prices.get(node.supply or "", prices.get(node.offer, 0))
        return wire.NodeView(
            name=node.name,
            generation=node.generation,
            state=node.state,
            offer=node.offer,
            machine=node.machine_id,
            address=node.address,
            job=node.job,
            reason=node.reason,
            since=node.since,
            lease_until=node.lease_until,
            supply=node.supply,
            ordered_at=node.ordered_at,
            cost_ucr=self._cost_ucr(node, price_ucr),
            timeline=tuple(wire.EventView(**vars(event)) for event in fleet.timeline(node.name)),
        )

    def _cost_ucr(self, node: ElasticNode, price_ucr: int) -> int:
        """Since its machine was ordered; rounded up, as bills are."""
        if node.ordered_at is None:
            return 0
        return math.ceil(price_ucr * (self.now() - node.ordered_at).total_seconds() / 3600)


def _exists(node: ElasticNode) -> bool:
    return node.state is not NodeState.OFF
