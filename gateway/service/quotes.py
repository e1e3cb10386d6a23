"""Quotes: what a job would cost on each offer that was considered, and why one of them is chosen.

Invariant: the total is what submitting it would hold; looking changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gateway import wire
from gateway.jobs.fit import nodes_on
from gateway.jobs.job import JobRequest
from gateway.placement.offers import Offer
from gateway.placement.place import has_gpus_of
from gateway.provisioning.breakers import Breaker
from gateway.provisioning.placement import Choice, Need
from gateway.service.placing import Placed, Placing, need_of


def choices_of(placing: Placing, request: JobRequest, placed: Placed) -> tuple[wire.ChoiceView, ...]:
    """Every offer of every size, the chosen size's first."""
    first = placed.placement.offer.name
    offers = sorted(placing.offers(), key=lambda offer: offer.name != first)
    return tuple(view for offer in offers for view in _of_offer(placing, request, placed, offer))


def _of_offer(placing: Placing, request: JobRequest, placed: Placed, offer: Offer) -> Iterator[wire.ChoiceView]:
    nodes = nodes_on(request.resources, offer.cores, memory_mb=offer.memory_mb, gpus=offer.gpus)
    need = replace(need_of(request, nodes), nodes=nodes)
    why = _misfit(offer, nodes if has_gpus_of(request.resources, offer) else 0)
    before = ""
    for choice in placing.choices(offer.name, need):
        chosen = not why and choice.supply == placed.chosen.supply and offer.name == placed.placement.offer.name
        text = why or _reason(choice, placing.shut(choice.supply), placed, offer.name, before)
        yield _view(offer.name, choice, need, text, chosen=chosen)
        before = choice.supply.name


def _misfit(offer: Offer, nodes: int) -> str:
    if nodes == 0:
        gpus = f"{offer.gpus} GPUs{f' ({offer.gpu_type})' if offer.gpu_type else ''}"
        return f"the job does not fit on nodes of {offer.cores} cores, {offer.memory_mb} MiB and {gpus}"
    if nodes > offer.max_nodes:
        return f"the job takes {nodes} nodes; there are {offer.max_nodes} at most"
    return ""


def _reason(choice: Choice, shut: Breaker | None, placed: Placed, offer: str, before: str) -> str:
    if choice.refusal is not None:
        return choice.refusal.detail
    if shut is not None:
        return f"shut until {shut.until:%H:%M:%S} UTC: {shut.error.detail}"
    if offer != placed.placement.offer.name:
        return f"the job costs less on {placed.placement.offer.name}, or as much on larger nodes here"
    if choice.supply == placed.chosen.supply:
        return "asked first" if not before else "asked first of those that are open"
    return f"asked if {before} refuses"


def _view(offer: str, choice: Choice, need: Need, why: str, *, chosen: bool) -> wire.ChoiceView:
    supply, tag = choice.supply, choice.candidate.tag
    return wire.ChoiceView(
        offer=offer,
        supply=supply.name,
        cloud=supply.cloud,
        zone=supply.zone,
        market=supply.market,
        nodes=need.nodes,
        price_ucr_per_hour=tag.ucr,
        compute_ucr=choice.compute_ucr,
        egress_ucr=choice.egress_ucr,
        total_ucr=choice.total_ucr,
        chosen=chosen,
        why=why,
    )
