"""Placing: which size a job is put on, which supplies its machines are asked of, and what was quoted for that.

Invariant: quote, hold and order of machines come from one ranking; a size of which nothing may be ordered takes no job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from gateway.accounting.quote import Data, Quote, quote
from gateway.accounting.tariff import Tariff
from gateway.errors import CloudError, CloudInvalid, NoOfferFits
from gateway.jobs.fit import nodes_on
from gateway.jobs.job import JobRequest
from gateway.jobs.terms import Terms
from gateway.placement.offers import Offer
from gateway.placement.place import Placement, place
from gateway.provisioning.breakers import Breaker, Breakers
from gateway.provisioning.node import Market
from gateway.provisioning.placement import Candidate, Choice, Need, egress_ucr, rank
from gateway.provisioning.prices import Prices
from gateway.provisioning.supply import Supplies, Supply
from gateway.settings import Settings, SizeSettings

_REMEMBERED = 4096
"""Jobs whose needs are kept in memory."""


@dataclass(frozen=True)
class Placed:
    """Where a job goes: ``choices`` are its size's supplies, ``chosen`` the one that would be asked now."""

    placement: Placement
    need: Need
    choices: tuple[Choice, ...]
    chosen: Choice

    @property
    def terms(self) -> Terms:
        """The prices that it is quoted."""
        return Terms(self.placement.offer.price_ucr_per_hour, self.chosen.candidate.rates)


@dataclass(frozen=True)
class Placing:
    """Implements ``gateway.provisioning.supply.Placer`` for the jobs of one gateway."""

    settings: Settings
    listed: Supplies
    prices: Prices
    breakers: Breakers
    request_of: Callable[[int], JobRequest | None]
    """Of Slurm's job of this id; None while it is not known."""
    now: Callable[[], datetime]
    _needs: dict[tuple[str, int], Need] = field(default_factory=dict)

    def order(self, size: str, supplies: tuple[Supply, ...], job: int | None) -> tuple[Supply, ...]:
        """See ``Placer.order``."""
        if len(supplies) == 1:
            return supplies
        return tuple(choice.supply for choice in self._ranked(size, supplies, self._need(size, job)))

    def refusal(self, supply: Supply, job: int | None) -> CloudError | None:
        """See ``Placer.refusal``."""
        if (refusal := self.prices.refusal(supply)) is not None:
            return refusal
        if supply.market is Market.SPOT and job is not None and not self._need("", job).spot:
            return CloudInvalid("the job may not be put on machines that are taken back")
        return None

    def shut(self, supply: Supply) -> Breaker | None:
        """The breaker that keeps a supply from being asked now."""
        return self.breakers.shut(supply, self.now())

    def choices(self, size: str, need: Need) -> tuple[Choice, ...]:
        """The supplies of a size, the first to be asked in front; those that may not be asked come last."""
        return self._ranked(size, self.listed.listed(size), need)

    def offers(self) -> tuple[Offer, ...]:
        """The sizes; of one of which nothing may be ordered the price is 0."""
        return tuple(self._offer(size, Need()) for size in self.settings.sizes)

    def place(self, request: JobRequest) -> Placed:
        """Where a job goes. Raises NoOfferFits."""
        need = need_of(request, 1)
        offers = [self._offer(size, need) for size in self.settings.sizes]
        try:
            placement = place(request.resources, offers, lambda found: self._data_ucr(request, found))
        except NoOfferFits as error:
            raise NoOfferFits(" ".join((error.detail, *self._left_out(offers, need))), hint=error.hint) from None
        return self._placed(request, placement)

    def _placed(self, request: JobRequest, placement: Placement) -> Placed:
        need = need_of(request, placement.nodes)
        choices = self.choices(placement.offer.name, need)
        allowed = [choice for choice in choices if choice.refusal is None]
        chosen = next((choice for choice in allowed if self.shut(choice.supply) is None), allowed[0])
        return Placed(placement, need, choices, chosen)

    def _data_ucr(self, request: JobRequest, placement: Placement) -> int:
        return egress_ucr(
            replace(need_of(request, 1), tasks=1, nodes=placement.nodes),
            self._placed(request, placement).chosen.candidate.rates,
        )

    def _offer(self, size: SizeSettings, need: Need) -> Offer:
        allowed = [choice for choice in self.choices(size.name, need) if choice.refusal is None]
        dearest = max((choice.candidate.tag.ucr or 0 for choice in allowed), default=0)
        return Offer(
            name=size.name,
            provider=", ".join(self.listed.clouds(size.name)),
            cores=size.cores,
            memory_mb=size.memory_mb,
            gpus=size.gpus,
            max_nodes=size.max_nodes,
            # Whichever takes the order, the job has paid for it.
            price_ucr_per_hour=(size.price_ucr_per_hour or dearest) if allowed else 0,
            gpu_type=size.gpu_type,
        )

    def _left_out(self, offers: list[Offer], need: Need) -> list[str]:
        return [
            f"{offer.name} is left out: {'; '.join(map(_refused, self.choices(offer.name, need)))}."
            for offer in offers
            if not offer.price_ucr_per_hour
        ]

    def _ranked(self, size: str, supplies: tuple[Supply, ...], need: Need) -> tuple[Choice, ...]:
        found = [
            Candidate(supply, self.prices.machine(supply), self.prices.rates(supply), self.prices.refusal(supply))
            for supply in supplies
        ]
        settings = self._size(size)
        return rank(need, found, (settings and settings.order) or self.settings.order)

    def _size(self, name: str) -> SizeSettings | None:
        return next((size for size in self.settings.sizes if size.name == name), None)

    def _need(self, size: str, job: int | None) -> Need:
        """Of one task of Slurm's job on nodes of this size; of any job where it is not known."""
        if job is None:
            return Need()
        known = (size, job)
        if known not in self._needs:
            if (request := self.request_of(job)) is None:
                return Need()
            if len(self._needs) >= _REMEMBERED:
                self._needs.clear()
            self._needs[known] = replace(need_of(request, self._nodes(request, size)), tasks=1)
        return self._needs[known]

    def _nodes(self, request: JobRequest, size: str) -> int:
        if (found := self._size(size)) is None:
            return 1
        return max(1, nodes_on(request.resources, found.cores, memory_mb=found.memory_mb, gpus=found.gpus))


def _refused(choice: Choice) -> str:
    return f"{choice.supply.name}: {choice.refusal.detail}" if choice.refusal else choice.supply.name


def quote_of(request: JobRequest, placed: Placed) -> Quote:
    """What a job that is paid by node time would be held for."""
    offer, need = placed.placement.offer, placed.need
    data = Data(placed.terms.rates, need.input_bytes, need.output_bytes)
    return quote(request.resources, offer.name, placed.placement.nodes, Tariff.of((offer,)), data)


def need_of(request: JobRequest, nodes: int) -> Need:
    """What a job takes on so many nodes; one that may not run twice is not for machines that are taken back."""
    return Need(
        seconds=request.resources.time_limit_s,
        nodes=nodes,
        tasks=request.resources.array_tasks,
        input_bytes=sum(each.size for each in request.burst.stage_in),
        output_bytes=request.burst.output_bytes,
        spot=not request.burst.on_demand and "no-requeue" not in request.options,
    )
