"""FleetService: nodes and offers as people see them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.placement.offers import Offer
from gateway.provisioning import figures
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.lifecycle import NodeState
from gateway.work import Works


@dataclass(frozen=True)
class FleetService:
    """The fleet, read only."""

    reads: Works
    known_offers: Callable[[], tuple[Offer, ...]]
    now: Callable[[], datetime]

    def views(self, caller: Reader) -> list[wire.NodeView]:
        """Every node that has, or is about to have, a machine."""
        demand(authorise(caller, Action.SEE_NODES))
        with self.reads() as work:
            return [self._view(work.fleet, node) for node in work.fleet.all() if _exists(node)]

    def view(self, caller: Reader, name: str) -> wire.NodeView:
        """One node, with or without a machine. Raises NotFound."""
        demand(authorise(caller, Action.SEE_NODES))
        with self.reads() as work:
            return self._view(work.fleet, work.fleet.get(name))

    def count(self) -> None:
        """Bring what /metrics tells of the nodes up to date."""
        with self.reads() as work:
            figures.count_nodes(work.fleet.all(), {each.name: each.price_ucr_per_hour for each in self.known_offers()})

    def _view(self, fleet: Fleet, node: ElasticNode) -> wire.NodeView:
        timeline = fleet.timeline(node.name)
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
            cost_ucr=self._cost_ucr(node),
            timeline=tuple(wire.EventView(**vars(event)) for event in timeline),
        )

    def _cost_ucr(self, node: ElasticNode) -> int:
        """Since its machine was ordered, at its size's price; rounded up, as bills are."""
        offer = next((each for each in self.known_offers() if each.name == node.offer), None)
        if node.ordered_at is None or offer is None:
            return 0
        return math.ceil(offer.price_ucr_per_hour * (self.now() - node.ordered_at).total_seconds() / 3600)


def _exists(node: ElasticNode) -> bool:
    return node.state is not NodeState.OFF
