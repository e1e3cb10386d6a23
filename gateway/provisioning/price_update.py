"""Price update: fetch what clouds ask for the sizes in the settings, and put it into the price book.

Invariant: a cloud that cannot be asked leaves its lines of the book as they are; of what is in no list, libcloud's own
prices are taken with their date, and what they do not have either stays unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from libcloud.pricing import DEFAULT_PRICING_FILE_PATH

from gateway.errors import BurstError, CloudInvalid, CloudTransient, InvalidRequest
from gateway.provisioning import price_azure, price_ec2, price_gce
from gateway.provisioning.credentials import credential
from gateway.provisioning.node import Market
from gateway.provisioning.price_book import BookFile, PriceBook
from gateway.provisioning.price_lists import PIECE, Rate, Wanted, amount
from gateway.settings import CloudSettings, Settings

_LIBCLOUD: Final = {"ec2": "ec2_linux", "gce": "gce_instances", "azure": "azure_linux"}
"""Our kind of cloud → its name in libcloud's price file."""


@dataclass(frozen=True)
class Updated:
    """What is new of one cloud; ``missing`` are wanted sizes that still have no price on demand."""

    cloud: str
    found: PriceBook
    missing: tuple[str, ...]
    trouble: str = ""
    """What could not be asked, and why."""


@dataclass(frozen=True)
class PriceUpdate:
    """Asks the clouds of the settings. ``key`` is a cloud's credential."""

    settings: Settings
    now: Callable[[], datetime]
    http: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=60, follow_redirects=False))

    def of(self, cloud: CloudSettings, known: PriceBook, file: Path | None = None) -> Updated:
        """Of one cloud, from what its provider publishes or from such a file; ``known`` is the book so far.

        Raises CloudError or InvalidRequest for a file that is not what it should be.
        """
        wanted = wanted_of(cloud)
        if file is not None:
            try:
                return _updated(wanted, known, _read(file, cloud, wanted))
            except (AttributeError, KeyError, TypeError) as error:
                raise CloudInvalid(f"{file} is not in the form of its provider: {error!r}") from None
        found, trouble = PriceBook(), []
        for fetch in _FETCHES.get(cloud.kind, ()):
            try:
                found = found.with_(fetch(self, cloud, wanted))
            except (BurstError, httpx2.HTTPError) as error:
                trouble.append(error.detail if isinstance(error, BurstError) else f"it cannot be asked: {error}")
            except Exception as error:  # noqa: BLE001 - libcloud lets through whatever its connection raised
                trouble.append(f"it cannot be asked: {error!r}"[:300])
        old = from_libcloud(cloud, wanted).without(known)
        return _updated(wanted, known, old.with_(found), "; ".join(trouble))

    def ec2_lists(self, cloud: CloudSettings, wanted: Wanted) -> PriceBook:
        """Machines and data of the public price list."""
        found = PriceBook()
        for path in price_ec2.PATHS:
            with self._opened(_base(cloud, price_ec2.BASE) + path.format(region=wanted.region)) as answer:
                found = found.with_(price_ec2.offer_file(answer.iter_bytes(PIECE), wanted))
        return found

    def ec2_spot(self, cloud: CloudSettings, wanted: Wanted) -> PriceBook:
        """Spot prices, for which the cloud's own API is asked with its credential."""
        key = credential(cloud, self.settings, ("key", "secret"))
        url = urlsplit(cloud.endpoint or "")
        secure = url.scheme == "https"
        server = {"host": url.hostname, "port": url.port or (443 if secure else 80), "secure": secure}
        return price_ec2.spot_prices(key, wanted, self.now(), **(server if cloud.endpoint else {}))

    def azure(self, cloud: CloudSettings, wanted: Wanted) -> PriceBook:
        """Machines and data of the Retail Prices API."""
        base = _base(cloud, price_azure.BASE)
        pages = (
            page
            for condition in price_azure.filters(wanted)
            for page in self._azure_pages(base, {"api-version": "2023-01-01-preview", "$filter": condition})
        )
        return price_azure.retail_prices(pages, wanted)

    def gce(self, cloud: CloudSettings, wanted: Wanted) -> PriceBook:
        """The catalogue of Compute Engine; its API key is "api_key" of the cloud's credential."""
        key = credential(cloud, self.settings, ("api_key",))["api_key"]
        return price_gce.catalogue(self._gce_pages(_base(cloud, price_gce.BASE) + price_gce.PATH, key), wanted)

    def _azure_pages(self, base: str, parameters: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        url: str | None = base + price_azure.PATH
        while url is not None:
            page = self._json(url, parameters)
            yield page
            following, parameters = page.get("NextPageLink"), {}
            # A page leads to the next one of the same API and to nowhere else.
            url = following if following and urlsplit(following)[:2] == urlsplit(base)[:2] else None

    def _gce_pages(self, url: str, key: str) -> Iterator[Mapping[str, Any]]:
        token: str | None = ""
        while token is not None:
            page = self._json(url, {"pageSize": "5000", **({"pageToken": token} if token else {})}, key)
            yield page
            token = page.get("nextPageToken") or None

    def _json(self, url: str, parameters: Mapping[str, str], key: str = "") -> Mapping[str, Any]:
        headers = {"X-Goog-Api-Key": key} if key else {}
        answer = self.http.get(url, params=dict(parameters) or None, headers=headers)
        _demand_ok(answer)
        try:
            found = answer.json()
        except ValueError as error:
            raise CloudTransient(f"{urlsplit(url).hostname} did not answer in JSON: {error}") from None
        return found if isinstance(found, dict) else {}

    @contextmanager
    def _opened(self, url: str) -> Iterator[httpx2.Response]:
        """A large answer, to be read as it arrives."""
        with self.http.stream("GET", url) as answer:
            _demand_ok(answer)
            yield answer


def wanted_of(cloud: CloudSettings) -> Wanted:
    """The prices that the settings want of a cloud."""
    return Wanted(cloud.name, cloud.price_region, {size.name: size for size in cloud.sizes})


def from_libcloud(cloud: CloudSettings, wanted: Wanted) -> PriceBook:
    """What libcloud's price file has, at the date of the file; its zeros are no prices."""
    document = json.loads(Path(DEFAULT_PRICING_FILE_PATH).read_text())
    known = document["compute"].get(_LIBCLOUD.get(cloud.kind, ""), {})
    as_of = datetime.fromtimestamp(document["updated"], UTC)
    return PriceBook.of(
        wanted.machine(size, Market.ON_DEMAND, Rate(amount(price), "USD", "libcloud's price file", as_of))
        for size in wanted.sizes
        if (price := _of_region(known.get(size), wanted.region))
    )


def _of_region(prices: object, region: str) -> object:
    return prices.get(region) if isinstance(prices, dict) else None


def _updated(wanted: Wanted, known: PriceBook, found: PriceBook, trouble: str = "") -> Updated:
    book = known.with_(found)
    missing = (
        size
        for size, facts in wanted.sizes.items()
        if facts.price_ucr_per_hour is None
        and book.machine(wanted.cloud, wanted.region, size, "", Market.ON_DEMAND) is None
    )
    return Updated(wanted.cloud, found, tuple(missing), trouble)


def _read(file: Path, cloud: CloudSettings, wanted: Wanted) -> PriceBook:
    """A file of the provider's form, or of the book's own."""
    try:
        start = file.read_bytes()[:PIECE]
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}", hint="name the file of prices") from None
    if b'"machines"' in start and b'"egress"' in file.read_bytes():
        book = BookFile(file).read()
        return PriceBook(*(_mine(prices, cloud) for prices in (book.machines, book.egress)))
    if cloud.kind == "ec2":
        with file.open("rb") as opened:
            return price_ec2.offer_file(iter(lambda: opened.read(PIECE), b""), wanted)
    if cloud.kind not in _PAGES:
        raise InvalidRequest(
            f"cloud {cloud.name}: nothing is known of price lists of the kind {cloud.kind}",
            hint="write credits_per_hour in the settings, or a file in the price book's own form",
        )
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise InvalidRequest(f"{file} is no JSON: {error}", hint="save the provider's answer as it came") from None
    pages = found if isinstance(found, list) else [found]
    if not pages or not all(isinstance(page, dict) for page in pages):
        raise CloudInvalid(f"{file} has no page of prices")
    return _PAGES[cloud.kind](pages, wanted)


def _mine(prices: Mapping[tuple[str, ...], Any], cloud: CloudSettings) -> dict[tuple[str, ...], Any]:
    return {key: price for key, price in prices.items() if price.cloud == cloud.name}


def _base(cloud: CloudSettings, usual: str) -> str:
    return (cloud.price_list or usual).rstrip("/")


def _demand_ok(answer: httpx2.Response) -> None:
    if answer.status_code != httpx2.codes.OK:
        raise CloudTransient(f"{answer.request.url.host} answered {answer.status_code} for its prices")


_FETCHES: Final[Mapping[str, tuple[Callable[[PriceUpdate, CloudSettings, Wanted], PriceBook], ...]]] = {
    "ec2": (PriceUpdate.ec2_lists, PriceUpdate.ec2_spot),
    "azure": (PriceUpdate.azure,),
    "gce": (PriceUpdate.gce,),
}
_PAGES: Final[Mapping[str, Callable[[Iterable[Mapping[str, Any]], Wanted], PriceBook]]] = {
    "azure": price_azure.retail_prices,
    "gce": price_gce.catalogue,
}
