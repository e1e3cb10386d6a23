"""Azure's prices: the pages of its public Retail Prices API.

Invariant: a price is that of a Linux machine by the hour, without reservation; low-priority machines are not spot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from gateway.errors import CloudInvalid
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import MachinePrice, PriceBook
from gateway.provisioning.price_lists import Rate, Wanted, amount, moment

BASE: Final = "https://prices.azure.com"
PATH: Final = "/api/retail/prices"
_SOURCE = "Azure retail prices"
_EGRESS_METERS = {"Standard Data Transfer Out", "Data Transfer Out"}


def filters(wanted: Wanted) -> tuple[str, str]:
    """What is asked for, in OData: the machines, and the data."""
    sizes = " or ".join(f"armSkuName eq '{name}'" for name in wanted.sizes)
    region = f"armRegionName eq '{wanted.region}' and priceType eq 'Consumption'"
    return (
        f"serviceName eq 'Virtual Machines' and {region} and ({sizes})",
        f"serviceName eq 'Bandwidth' and {region}",
    )


def retail_prices(pages: Iterable[Mapping[str, Any]], wanted: Wanted) -> PriceBook:
    """Prices of the pages' items. Raises CloudInvalid for what are none."""
    items = list(_items(pages))
    machines = [found for item in items if (found := _machine(item, wanted)) is not None]
    egress = [rate for item in items if (rate := _egress(item, wanted)) is not None]
    # Of several that fit, the dearest: what is paid must never be more than what was held.
    machines.sort(key=lambda each: each.price)
    leaving = [wanted.egress(max(egress, key=lambda rate: rate.price))] if egress else []
    return PriceBook({each.key: each for each in machines}, PriceBook.of((), leaving).egress)


def _items(pages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for page in pages:
        if not isinstance(page.get("Items"), list):
            raise CloudInvalid("this is no page of Azure's retail prices: it has no Items")
        yield from page["Items"]


def _machine(item: Mapping[str, Any], wanted: Wanted) -> MachinePrice | None:
    names = f"{item.get('skuName', '')} {item.get('meterName', '')}"
    fits = (
        item.get("serviceName") == "Virtual Machines"
        and item.get("armRegionName") == wanted.region
        and item.get("armSkuName") in wanted.sizes
        and item.get("type") == "Consumption"
        and item.get("unitOfMeasure") == "1 Hour"
        and "Windows" not in str(item.get("productName"))
        and "CloudServices" not in str(item.get("productName"))
        and "Low Priority" not in names
    )
    price = amount(item.get("retailPrice"))
    if not fits or not price:
        return None
    market = Market.SPOT if "Spot" in names else Market.ON_DEMAND
    return wanted.machine(item["armSkuName"], market, _rate(item, price))


def _egress(item: Mapping[str, Any], wanted: Wanted) -> Rate | None:
    fits = (
        item.get("serviceName") == "Bandwidth"
        and item.get("armRegionName") == wanted.region
        and item.get("meterName") in _EGRESS_METERS
        and item.get("type") == "Consumption"
        and item.get("unitOfMeasure") == "1 GB"
    )
    price = amount(item.get("retailPrice"))
    return _rate(item, price) if fits and price else None


def _rate(item: Mapping[str, Any], price: Decimal) -> Rate:
    return Rate(price, str(item.get("currencyCode", "USD")), _SOURCE, moment(item.get("effectiveStartDate")))
