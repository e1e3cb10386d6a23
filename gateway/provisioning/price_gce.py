"""Google's prices: the SKUs of the Cloud Billing Catalog, from which a machine's price is put together.

Invariant: a price counts every core and every GiB of the size; of a size with GPUs, which the catalogue sells apart,
none is made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from gateway.errors import CloudInvalid
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import MachinePrice, PriceBook
from gateway.provisioning.price_lists import Rate, Wanted, amount, moment

BASE: Final = "https://cloudbilling.googleapis.com"
PATH: Final = "/v1/services/6F81-5844-456A/skus"
"""Of Compute Engine."""

_SOURCE = "Google Cloud Billing Catalog"
_PART = re.compile(
    r"(?P<spot>Spot Preemptible )?(?P<family>[A-Z][0-9][A-Z]?|Compute optimized|Memory-optimized)"
    r"( Predefined| AMD| Arm)?( Instance)? (?P<what>Core|Ram) running in .*"
)
_FAMILIES = {"Compute optimized": "C2", "Memory-optimized": "M1"}
_EGRESS = re.compile(r"Network Internet (Egress|Data Transfer Out) from .* to (?!China|Australia).*")
"""China and Australia have prices of their own, far above the rest."""


def catalogue(pages: Iterable[Mapping[str, Any]], wanted: Wanted) -> PriceBook:
    """Prices of the pages' SKUs. Raises CloudInvalid for what are none."""
    parts: dict[tuple[str, Market, str], Rate] = {}
    egress: list[Rate] = []
    for sku in _skus(pages):
        if wanted.region not in sku.get("serviceRegions", ()) or (rate := _rate(sku)) is None:
            continue
        description = str(sku.get("description", ""))
        if match := _PART.fullmatch(description):
            family = _FAMILIES.get(match["family"], match["family"])
            market = Market.SPOT if match["spot"] else Market.ON_DEMAND
            parts[family, market, match["what"]] = _dearer(rate, parts.get((family, market, match["what"])))
        elif _EGRESS.fullmatch(description):
            egress.append(rate)
    machines = [
        price
        for name in wanted.sizes
        for market in Market
        if (price := _machine(name, market, parts, wanted)) is not None
    ]
    dearest = max(egress, key=lambda rate: rate.price, default=None)
    leaving = [wanted.egress(dearest)] if dearest else []
    return PriceBook.of(machines, leaving)


def _skus(pages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for page in pages:
        if not isinstance(page.get("skus"), list):
            raise CloudInvalid("this is no page of the Cloud Billing Catalog: it has no skus")
        yield from page["skus"]


def _machine(
    name: str, market: Market, parts: Mapping[tuple[str, Market, str], Rate], wanted: Wanted
) -> MachinePrice | None:
    size, family = wanted.sizes[name], name.partition("-")[0].upper()
    core, ram = (parts.get((family, market, what)) for what in ("Core", "Ram"))
    if size.gpus or core is None or ram is None or core.currency != ram.currency:
        return None
    price = core.price * size.cores + ram.price * size.memory_mb / 1024
    return wanted.machine(name, market, Rate(price, core.currency, _SOURCE, min(core.as_of, ram.as_of)))


def _rate(sku: Mapping[str, Any]) -> Rate | None:
    """The dearest step of a SKU's present price, by the hour or GB; None if it is sold otherwise or for nothing."""
    infos = sku.get("pricingInfo") or [{}]
    expression = infos[-1].get("pricingExpression", {})
    if expression.get("usageUnit") not in {"h", "GiBy.h", "GiBy", "GBy"}:
        return None
    found = [_money(step.get("unitPrice", {})) for step in expression.get("tieredRates", ())]
    price, currency = max(found, default=(Decimal(0), "USD"))
    return Rate(price, currency, _SOURCE, moment(infos[-1].get("effectiveTime"))) if price else None


def _money(price: Mapping[str, Any]) -> tuple[Decimal, str]:
    return amount(Decimal(str(price.get("units") or 0)) + Decimal(price.get("nanos", 0)).scaleb(-9)), str(
        price.get("currencyCode", "USD")
    )


def _dearer(rate: Rate, other: Rate | None) -> Rate:
    return rate if other is None or rate.price > other.price else other
