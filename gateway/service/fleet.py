"""FleetService: nodes and offers as people see them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.placement.offers import Offer
from gateway.provisioning import figures
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
    now: Callable[[], datetime]
    blind: Callable[[str], bool] = lambda _cloud: False

    def views(self, caller: Reader) -> list[wire.NodeView]:
        """Every node that has, or is about to have, a machine."""
        demand(authorise(caller, Action.SEE_NODES))
        with self.reads() as work:
            prices = self._prices()
            return [self._view(work.fleet, node, prices) for node in work.fleet.all() if _exists(node)]

    def view(self, caller: Reader, name: str) -> wire.NodeView:
        """One node, with or without a machine. Raises NotFound."""
        demand(authorise(caller, Action.SEE_NODES))
        with self.reads() as work:
            return self._view(work.fleet, work.fleet.get(name), self._prices())

    def count(self) -> None:
        """Bring what /metrics tells of the nodes up to date."""
        with self.reads() as work:
            figures.count_nodes(work.fleet.all(), self._prices())

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

    def _prices(self) -> Mapping[str, int]:
        """Supply, or size, → micro-credits for one machine for one hour, where it is known."""
        offers = self.placing.offers()
        choices = (choice for offer in offers for choice in self.placing.choices(offer.name, Need()))
        known = {choice.supply.name: choice.candidate.tag.ucr for choice in choices}
        return {offer.name: offer.price_ucr_per_hour for offer in offers} | {k: v for k, v in known.items() if v}

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
