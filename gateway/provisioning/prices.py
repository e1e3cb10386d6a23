"""Prices: what a supply costs an hour and what data costs on its way, in micro-credits, from settings and price book.

Invariant: what has no known positive price, or one above its cap, is told by ``refusal`` and never ordered; an amount
is rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from gateway.errors import Price, PriceUnknown, SetupError
from gateway.jobs.terms import Rates
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import EgressPrice, MachinePrice, PriceBook
from gateway.provisioning.supply import Supply
from gateway.settings import CREDIT, LOCAL_CLOUD, CloudSettings, Settings

SETTINGS: Final = "settings"
"""Source of a price that an administrator wrote."""


@dataclass(frozen=True)
class Tag:
    """A price with where it comes from; ``ucr`` None: not known, and ``fault`` says why."""

    ucr: int | None
    source: str = SETTINGS
    as_of: datetime | None = None
    fault: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Prices:
    """Prices of now: the book is read at each question."""

    settings: Settings
    book: Callable[[], PriceBook]
    now: Callable[[], datetime]

    def machine(self, supply: Supply) -> Tag:
        """Of one machine for one hour."""
        if supply.cloud == LOCAL_CLOUD:
            size = next((each for each in self.settings.sizes if each.name == supply.size), None)
            return Tag(size.price_ucr_per_hour if size else None, fault="the size is not in the settings")
        cloud = self._clouds.get(supply.cloud)
        kind = next((each for each in cloud.sizes if each.name == supply.size), None) if cloud else None
        if cloud is None or kind is None:
            return Tag(None, fault="it is not in the settings")
        spot = supply.market is Market.SPOT
        if written := kind.spot_ucr_per_hour if spot else kind.price_ucr_per_hour:
            return Tag(written)
        return self._booked(
            lambda book: book.machine(cloud.name, cloud.price_region, supply.size, supply.zone, supply.market), cloud
        )

    def refusal(self, supply: Supply) -> Price | None:
        """The error for which nothing may be ordered there at today's price."""
        tag = self.machine(supply)
        if not tag.ucr:
            return PriceUnknown(f"its price is not known: {tag.fault or 'it is 0'}")
        if supply.cap_ucr is not None and tag.ucr > supply.cap_ucr:
            price, cap = (f"{amount / CREDIT:.6g}" for amount in (tag.ucr, supply.cap_ucr))
            return Price(f"it costs {price} credits an hour; at most {cap} may be paid")
        return None

    def egress(self, cloud: CloudSettings) -> Tag:
        """Of one GB that leaves a cloud."""
        if (written := cloud.egress_ucr_per_gb) is not None:
            return Tag(written)
        return self._booked(lambda book: book.egress_of(cloud.name, cloud.price_region), cloud)

    def rates(self, supply: Supply) -> Rates:
        """What data costs between the store and a machine of a supply; nothing where both are at one place."""
        cloud = self._clouds.get(supply.cloud)
        store = self.settings.store_location
        if (cloud.place if cloud else LOCAL_CLOUD) == store:
            return Rates()
        leaving_store = [self.egress(each).ucr or 0 for each in self.settings.clouds if each.place == store]
        return Rates(max(leaving_store, default=0), (self.egress(cloud).ucr or 0) if cloud else 0)

    @property
    def _clouds(self) -> Mapping[str, CloudSettings]:
        return {cloud.name: cloud for cloud in self.settings.clouds}

    def _booked(self, find: Callable[[PriceBook], MachinePrice | EgressPrice | None], cloud: CloudSettings) -> Tag:
        """What the book says, in credits."""
        try:
            found = find(self.book())
        except SetupError as error:
            return Tag(None, fault=error.detail)
        if found is None:
            return Tag(None, fault=f"the price book does not have it; burst offers update --cloud {cloud.name}")
        rate = self.settings.currencies.get(found.currency)
        if rate is None:
            fault = f"it is in {found.currency}, and the setting currencies does not say how many credits one is"
            return Tag(None, found.source, found.as_of, fault)
        ucr = math.ceil(found.price * Decimal(str(rate)) * CREDIT)
        return Tag(ucr, found.source, found.as_of, warning=self._age(found.as_of, cloud))

    def _age(self, as_of: datetime, cloud: CloudSettings) -> str:
        age = self.now() - as_of
        if age <= timedelta(days=self.settings.prices_good_days):
            return ""
        return f"its price is {age.days} days old; burst offers update --cloud {cloud.name}"
