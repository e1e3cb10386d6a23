"""Placement: the cheapest offer that a job fits on.

Invariant: an offer without a price is never chosen; equal costs are decided by size and then by name, so that the same
job on the same offers always goes to the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.errors import NoOfferFits
from gateway.jobs.job import Resources
from gateway.placement.offers import Offer


@dataclass(frozen=True)
class Placement:
    """Where a job goes: ``nodes`` nodes of ``offer`` for each of its tasks."""

    offer: Offer
    nodes: int

    @property
    def price_ucr_per_hour(self) -> int:
        """Of all the nodes together, in micro-credits."""
        return self.nodes * self.offer.price_ucr_per_hour


def place(resources: Resources, offers: Iterable[Offer]) -> Placement:
    """The cheapest placement. Raises NoOfferFits, which says what is too much and the most that there is."""
    priced = [offer for offer in offers if offer.price_ucr_per_hour > 0]
    if not priced:
        raise NoOfferFits("No offer has a price.", hint="an administrator sets prices in burst.toml")
    fitting = [Placement(offer, _nodes_on(resources, offer)) for offer in priced if _fits(resources, offer)]
    if not fitting:
        raise NoOfferFits(_too_much(resources, priced), hint="`burst offers` shows what can be had")
    return min(fitting, key=lambda choice: (choice.price_ucr_per_hour, choice.offer.cores, choice.offer.name))


@dataclass(frozen=True)
class _Demand:
    """One thing that a job asks of each offer, in words and in numbers."""

    words: Callable[[int], str]
    asked: Callable[[Resources, Offer], int]
    had: Callable[[Offer], int]
    suffix: str = ""


def _nodes_on(resources: Resources, offer: Offer) -> int:  # noqa: ARG001 - how many may come to depend on the offer's size
    return resources.nodes


_DEMANDS = (
    _Demand(lambda n: _count(n, "GPU"), lambda r, _: r.gpus_per_node, lambda o: o.gpus, " a node"),
    _Demand(lambda n: _count(n, "CPU"), lambda r, _: r.cpus_per_node, lambda o: o.cores, " a node"),
    _Demand(lambda n: f"{n} MB of memory", lambda r, _: r.memory_mb_per_node, lambda o: o.memory_mb, " a node"),
    _Demand(lambda n: _count(n, "node"), _nodes_on, lambda o: o.max_nodes),
)


def _fits(resources: Resources, offer: Offer) -> bool:
    return all(demand.asked(resources, offer) <= demand.had(offer) for demand in _DEMANDS)


def _too_much(resources: Resources, offers: Sequence[Offer]) -> str:
    """The first demand that no offer meets; else that none meets all of them together."""
    for demand in _DEMANDS:
        if all(demand.asked(resources, offer) > demand.had(offer) for offer in offers):
            most = max(offers, key=demand.had)
            asked = demand.words(demand.asked(resources, most))
            return f"The job asks for {asked}{demand.suffix}; the largest offer, {most.name}, has {demand.had(most)}."
    asked = _list(
        f"{demand.words(n)}{demand.suffix}" for demand in _DEMANDS if (n := demand.asked(resources, offers[0]))
    )
    had = "; ".join(
        f"{offer.name} has {_list(demand.words(demand.had(offer)) for demand in _DEMANDS)}" for offer in offers
    )
    return f"No single offer has all that the job asks for, {asked}: {had}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
