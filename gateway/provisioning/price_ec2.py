"""EC2's prices: the public price list's offer files for machines and for data, and the history of spot prices.

Invariant: a price is that of a Linux machine of shared tenancy without licences; offer files are read as they arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from gateway.errors import CloudInvalid
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import PriceBook
from gateway.provisioning.price_lists import Path, Rate, Wanted, amount, members, moment

BASE: Final = "https://pricing.us-east-1.amazonaws.com"
PATHS: Final = tuple(
    f"/offers/v1.0/aws/{service}/current/{{region}}/index.json" for service in ("AmazonEC2", "AWSDataTransfer")
)

_OPENED: Final[frozenset[Path]] = frozenset(
    {("products",), ("terms",), ("terms", "OnDemand"), ("terms", "Reserved"), ("terms", "FlatRate")}
)
_LINUX = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")
_FAMILIES = {"Compute Instance", "Compute Instance (bare metal)"}
_EGRESS = ""
"""In place of a size."""


def offer_file(pieces: Iterable[bytes], wanted: Wanted) -> PriceBook:
    """Prices of an offer file in JSON, of machines or of data. Raises CloudInvalid for what is none."""
    facts: dict[str, Any] = {}
    products: dict[str, str] = {}
    prices: dict[str, tuple[Decimal, str]] = {}
    for path, value in members(pieces, _OPENED):
        match path:
            case (name,):
                facts[name] = value
            case ("products", sku) if isinstance(value, dict) and (size := _size(value, wanted)) is not None:
                products[sku] = size
            case ("terms", "OnDemand", sku) if sku in products:
                prices[products[sku]] = _dearest(value, prices.get(products[sku]))
    if "offerCode" not in facts or "publicationDate" not in facts:
        raise CloudInvalid("this is no offer file of the AWS price list: it has no offerCode and publicationDate")
    as_of = moment(facts["publicationDate"])
    source = f"AWS price list {facts['offerCode']} {facts.get('version', '')}".strip()
    rates = {size: Rate(*price, source, as_of) for size, price in prices.items()}
    egress = rates.pop(_EGRESS, None)
    machines = (wanted.machine(size, Market.ON_DEMAND, rate) for size, rate in rates.items())
    return PriceBook.of(machines, [wanted.egress(egress)] if egress else [])


def spot_prices(key: Mapping[str, str], wanted: Wanted, now: datetime, **server: Any) -> PriceBook:
    """The spot prices of now in each zone, from EC2's own API. ``key``: "key", "secret", perhaps "token".

    ``server``: host, port and secure of one that is not Amazon's.
    """
    kind: Any = get_driver(Provider.EC2)
    driver = kind(
        key["key"],
        key["secret"],
        token=key.get("token"),
        region=wanted.region,
        signature_version="4",
        timeout=60,
        **server,
    )
    source = f"EC2 spot price history {wanted.region}"
    return PriceBook.of(
        wanted.machine(
            item["instanceType"],
            Market.SPOT,
            Rate(amount(item["spotPrice"]), "USD", source, moment(item["timestamp"])),
            item["availabilityZone"],
        )
        for item in _history(driver, wanted, now)
        if item["productDescription"] in _LINUX and item["instanceType"] in wanted.sizes
    )


def _history(driver: Any, wanted: Wanted, now: datetime) -> Iterator[dict[str, str]]:
    """DescribeSpotPriceHistory from now on, which answers with each zone's latest price, to the last page."""
    asked = {"Action": "DescribeSpotPriceHistory", "StartTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    asked |= {f"ProductDescription.{number}": name for number, name in enumerate(_LINUX, 1)}
    asked |= {f"InstanceType.{number}": size for number, size in enumerate(wanted.sizes, 1)}
    page: str | None = ""
    while page is not None:
        answer = driver.connection.request(driver.path, params={**asked, **({"NextToken": page} if page else {})})
        for item in answer.object.iterfind("{*}spotPriceHistorySet/{*}item"):
            yield {part.tag.rpartition("}")[2]: part.text or "" for part in item}
        page = answer.object.findtext("{*}nextToken") or None


def _size(product: Mapping[str, Any], wanted: Wanted) -> str | None:
    """The wanted size that a product is, "" for data that leaves the region, None for anything else."""
    facts = product.get("attributes", {})
    if facts.get("transferType") == "AWS Outbound" and facts.get("toLocation") == "External":
        return _EGRESS if facts.get("fromRegionCode") == wanted.region else None
    plain = (
        product.get("productFamily") in _FAMILIES
        and facts.get("operatingSystem") == "Linux"
        and facts.get("tenancy") == "Shared"
        and facts.get("preInstalledSw", "NA") == "NA"
        and facts.get("capacitystatus", "Used") == "Used"
        and facts.get("marketoption", "OnDemand") == "OnDemand"
        and facts.get("regionCode", wanted.region) == wanted.region
    )
    size = facts.get("instanceType")
    return size if plain and size in wanted.sizes else None


def _dearest(terms: Mapping[str, Any], before: tuple[Decimal, str] | None) -> tuple[Decimal, str]:
    """The highest step of a product's prices, of an hour or of a GB."""
    found = [before] if before else []
    for term in terms.values():
        for step in term.get("priceDimensions", {}).values():
            if step.get("unit") in {"Hrs", "GB"}:
                found += [(amount(price), currency) for currency, price in step.get("pricePerUnit", {}).items()]
    return max(found, default=(Decimal(0), "USD"))
