"""FleetService: nodes and offers as people see them."""

from __future__ import annotations

from dataclasses import dataclass

from gateway import wire
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.placement.offers import Offer
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.lifecycle import NodeState
from gateway.work import Works


@dataclass(frozen=True)
class FleetService:
    """The fleet, read only."""

    reads: Works
    known_offers: tuple[Offer, ...]

    def views(self, caller: Reader) -> list[wire.NodeView]:
        """Every node that has, or is about to have, a machine."""
        demand(authorise(caller, Action.SEE_NODES))
        with self.reads() as work:
            return [_view(work.fleet, node) for node in work.fleet.all() if _exists(node)]


def _exists(node: ElasticNode) -> bool:
    return node.state is not NodeState.OFF


def _view(fleet: Fleet, node: ElasticNode) -> wire.NodeView:
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
        timeline=tuple(wire.EventView(**vars(event)) for event in fleet.timeline(node.name)),
    )
