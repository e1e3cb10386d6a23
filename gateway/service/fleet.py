"""FleetService: nodes and offers as people see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway import wire
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.placement.offers import Offer
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.placement import Choice, Need
from gateway.service.placing import Placing
from gateway.work import Works


@dataclass(frozen=True)
class FleetService:
    """The fleet, read only."""

    reads: Works
    placing: Placing
    blind: Callable[[str], bool] = lambda _cloud: False

    def views(self, caller: Reader) -> list[wire.NodeView]:
        """Every node that has, or is about to have, a machine."""
        demand(authorise(caller, Action.SEE_NODES))
        with self.reads() as work:
            return [_view(work.fleet, node) for node in work.fleet.all() if _exists(node)]

    def offers(self, caller: Reader) -> list[wire.OfferView]:
        """What can be had, and how much of it is in use."""
        demand(authorise(caller, Action.SEE_OFFERS))
        with self.reads() as work:
            nodes = [node for node in work.fleet.all() if _exists(node)]
        used = Counter(node.offer for node in nodes)
        placed = Counter(node.supply for node in nodes)
        return [
            wire.OfferView(**vars(offer), in_use=used[offer.name], supplies=self._supplies(offer, placed))
            for offer in self.placing.offers()
        ]

    def _supplies(self, offer: Offer, used: Mapping[str | None, int]) -> tuple[wire.SupplyView, ...]:
        choices = self.placing.choices(offer.name, Need())
        return tuple(self._supply(choice, used.get(choice.supply.name, 0)) for choice in choices)

    def _supply(self, choice: Choice, used: int) -> wire.SupplyView:
        supply, tag, rates = choice.supply, choice.candidate.tag, choice.candidate.rates
        shut = self.placing.shut(supply)
        error = choice.refusal or (shut.error if shut else None)
        why = error.detail if error else _BLIND if self.blind(supply.cloud) else ""
        return wire.SupplyView(
            name=supply.name,
            cloud=supply.cloud,
            size=supply.size,
            zone=supply.zone,
            market=supply.market,
            bare_metal=supply.bare_metal,
            price_ucr_per_hour=tag.ucr,
            price_source=tag.source,
            price_as_of=tag.as_of,
            warning=tag.warning,
            open=not why,
            why=why,
            until=shut.until if shut and choice.refusal is None else None,
            in_use=used,
            max_nodes=supply.most,
            in_ucr_per_gb=rates.in_ucr_per_gb,
            out_ucr_per_gb=rates.out_ucr_per_gb,
        )


_BLIND = "it does not tell which machines it has, so no more are ordered there"


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
