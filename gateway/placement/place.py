"""Placement: the cheapest offer that a job fits on.

Invariant: an offer without a price is never chosen; equal costs are decided by size and then by name, so that the same
job on the same offers always goes to the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import NoOfferFits
from gateway.jobs.fit import nodes_on
from gateway.jobs.job import Resources
from gateway.placement.offers import Offer

HOUR_S: Final = 3600


@dataclass(frozen=True)
class Placement:
    """Where a job goes: ``nodes`` nodes of ``offer`` for each of its tasks."""

    offer: Offer
    nodes: int

    @property
    def price_ucr_per_hour(self) -> int:
        """Of all the nodes together, in micro-credits."""
        return self.nodes * self.offer.price_ucr_per_hour


def place(
    resources: Resources, offers: Iterable[Offer], data_ucr: Callable[[Placement], int] = lambda _: 0
) -> Placement:
    """The cheapest placement. Raises NoOfferFits, which says what is too much and the most that there is.

    ``data_ucr`` is what one task's data costs there, beside its nodes for the whole time limit.
    """
    priced = [offer for offer in offers if offer.price_ucr_per_hour > 0]
    if not priced:
        raise NoOfferFits("No offer has a price.", hint="an administrator sets prices in burst.toml")
    choices = [Placement(offer, nodes) for offer in priced if (nodes := _nodes(resources, offer))]
    fitting = [choice for choice in choices if choice.nodes <= choice.offer.max_nodes]
    if not fitting:
        reason = _too_many_nodes(choices, priced) if choices else _too_big_a_node(resources, priced)
        raise NoOfferFits(reason, hint="`burst offers` shows what can be had")
    return min(fitting, key=lambda choice: (_cost(choice, resources, data_ucr), choice.offer.cores, choice.offer.name))


def has_gpus_of(resources: Resources, offer: Offer) -> bool:
    """Whether its GPUs are of the only type that the job will have, if it names any."""
    return all(wanted == offer.gpu_type for wanted in resources.gpu_types)


def _cost(choice: Placement, resources: Resources, data_ucr: Callable[[Placement], int]) -> int:
    """Of one task; in 3600ths of a micro-credit, so that nothing is rounded."""
    return choice.price_ucr_per_hour * resources.time_limit_s + data_ucr(choice) * HOUR_S


def _nodes(resources: Resources, offer: Offer) -> int:
    if not has_gpus_of(resources, offer):
        return 0
    return nodes_on(resources, offer.cores, memory_mb=offer.memory_mb, gpus=offer.gpus)


def _too_many_nodes(choices: Sequence[Placement], offers: Sequence[Offer]) -> str:
    most = max(choices, key=lambda choice: choice.offer.max_nodes)
    largest = "the largest offer" if len(choices) == len(offers) else "the largest offer with such nodes"
    asked = _count(most.nodes, "node")
    return f"The job asks for {asked}; {largest}, {most.offer.name}, has {most.offer.max_nodes}."


@dataclass(frozen=True)
class _Measure:
    """One thing that a node has some of: how much a job asks for, how much an offer has, and the word for it."""

    asked: Callable[[Resources], int]
    had: Callable[[Offer], int]
    words: Callable[[int], str]


_MEASURES = (
    _Measure(lambda r: max(r.gpus_per_node, min(r.gpus, 1)), lambda o: o.gpus, lambda n: _count(n, "GPU")),
    _Measure(lambda r: max(r.cpus_per_node, r.cpus_per_task), lambda o: o.cores, lambda n: _count(n, "CPU")),
    _Measure(
        lambda r: max(r.memory_mb_per_node, r.memory_mb_per_cpu * r.cpus_per_task),
        lambda o: o.memory_mb,
        lambda n: f"{n} MB of memory",
    ),
)


def _too_big_a_node(resources: Resources, offers: Sequence[Offer]) -> str:
    """The first measure that is too much for every offer; else that none has enough of all of them together."""
    if not any(has_gpus_of(resources, offer) for offer in offers):
        had = ", ".join(sorted({offer.gpu_type for offer in offers if offer.gpu_type})) or "none with a type"
        return f"No offer has GPUs of the type {' and '.join(resources.gpu_types)}; there are {had}."
    for measure in _MEASURES:
        most = max(offers, key=measure.had)
        if (asked := measure.asked(resources)) > measure.had(most):
            words = measure.words(asked)
            return f"The job asks for {words} a node; the largest offer, {most.name}, has {measure.had(most)}."
    wanted = _list([measure.words(asked) for measure in _MEASURES if (asked := measure.asked(resources))])
    had = "; ".join(f"{offer.name} has {_list([m.words(m.had(offer)) for m in _MEASURES])}" for offer in offers)
    nodes = f" on at most {_count(resources.max_nodes, 'node')}" if resources.max_nodes else ""
    return f"No single offer has all that the job asks for, {wanted} a node{nodes}: {had}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
