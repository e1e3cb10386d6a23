"""OfferService: what can be had, from where, at what price, and what is shut and why.

Invariant: it only looks; what may not be ordered is shown with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway import wire
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.placement.offers import Offer
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.placement import Choice, Need
from gateway.service.placing import Placing
from gateway.work import Works

_BLIND = "it does not tell which machines it has, so no more are ordered there"


@dataclass(frozen=True)
class OfferService:
    """The offers of one gateway. ``blind`` says whether a cloud's machines are out of sight."""

    reads: Works
    placing: Placing
    blind: Callable[[str], bool]

    def all(self, caller: Reader) -> list[wire.OfferView]:
        """Every size with its supplies, and how much of each is in use."""
        demand(authorise(caller, Action.SEE_OFFERS))
        with self.reads() as work:
            nodes = [node for node in work.fleet.all() if node.state is not NodeState.OFF]
        used = Counter(node.offer for node in nodes)
        placed = Counter(node.supply for node in nodes)
        return [
            wire.OfferView(**vars(offer), in_use=used[offer.name], supplies=self._supplies(offer, placed))
            for offer in self.placing.offers()
        ]

    def prices(self) -> Mapping[str, int]:
        """Supply, or size, → micro-credits for one machine for one hour, where it is known."""
        offers = self.placing.offers()
        choices = (choice for offer in offers for choice in self.placing.choices(offer.name, Need()))
        known = {choice.supply.name: choice.candidate.tag.ucr for choice in choices}
        return {offer.name: offer.price_ucr_per_hour for offer in offers} | {k: v for k, v in known.items() if v}

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
