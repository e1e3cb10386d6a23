"""Price book: what clouds ask for machines and for data that leaves them, each price with its source and date.

Invariant: a price is positive and has a date, a source and a currency; one that is not known, or was given as 0, is not
in the book. The file is replaced whole, so that who reads it sees the book before or after an update.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.errors import SetupError
from gateway.provisioning.node import Market

BOOK_FILE: Final = "price-book.json"
"""Below the gateway's directory."""

Kind = TypeVar("Kind", "MachinePrice", "EgressPrice")


@dataclass(frozen=True)
class MachinePrice:
    """Of one machine for one hour. ``zone`` "": in every zone of the region that has no price of its own."""

    cloud: str
    region: str
    size: str
    market: Market
    price: Decimal
    currency: str
    source: str
    as_of: datetime
    """When its source says that it began to hold, or was published."""
    zone: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What it is the price of."""
        return (self.cloud, self.region, self.size, self.zone, self.market)


@dataclass(frozen=True)
class EgressPrice:
    """Of one GB that leaves a cloud's region, at the dearest step of its scale."""

    cloud: str
    region: str
    price: Decimal
    currency: str
    source: str
    as_of: datetime

    @property
    def key(self) -> tuple[str, ...]:
        """What it is the price of."""
        return (self.cloud, self.region)


@dataclass(frozen=True)
class PriceBook:
    """Prices by what they are of."""

    machines: Mapping[tuple[str, ...], MachinePrice] = field(default_factory=dict)
    egress: Mapping[tuple[str, ...], EgressPrice] = field(default_factory=dict)

    @classmethod
    def of(cls, machines: Iterable[MachinePrice] = (), egress: Iterable[EgressPrice] = ()) -> PriceBook:
        """A book of these; of several prices of one thing the latest counts, what is not positive is left out."""
        return cls(_latest(machines), _latest(egress))

    def with_(self, newer: PriceBook) -> PriceBook:
        """The book after an update: what is new replaces what is old, whatever their dates."""
        return PriceBook({**self.machines, **newer.machines}, {**self.egress, **newer.egress})

    def without(self, known: PriceBook) -> PriceBook:
        """What of it is not in ``known``."""
        return PriceBook(
            {key: each for key, each in self.machines.items() if key not in known.machines},
            {key: each for key, each in self.egress.items() if key not in known.egress},
        )

    def machine(self, cloud: str, region: str, size: str, zone: str, market: Market) -> MachinePrice | None:
        """The price of a machine; where the cloud chooses the zone, that of the dearest one."""
        if found := self.machines.get((cloud, region, size, zone, market)):
            return found
        if zone:
            return self.machines.get((cloud, region, size, "", market))
        wanted = (cloud, region, size, market)
        zones = [each for each in self.machines.values() if (*each.key[:3], each.market) == wanted]
        return max(zones, key=lambda each: each.price, default=None)

    def egress_of(self, cloud: str, region: str) -> EgressPrice | None:
        """The price of a GB that leaves it."""
        return self.egress.get((cloud, region))


class BookFile:
    """The book of a gateway's directory, read again when it was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[tuple[int, int], PriceBook] | None = None

    def read(self) -> PriceBook:
        """The book as it is now; empty if there is none. Raises SetupError for one that cannot be read."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return PriceBook()
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if self._known is None or self._known[0] != stamp:
            self._known = (stamp, _read(self._path))
        return self._known[1]

    def write(self, book: PriceBook) -> None:
        """Replace it."""
        lines = [[json.dumps(_facts(each)) for each in _sorted(prices)] for prices in (book.machines, book.egress)]
        machines, egress = (",\n    ".join(each) for each in lines)
        text = f'{{\n  "machines": [\n    {machines}\n  ],\n  "egress": [\n    {egress}\n  ]\n}}\n'
        temporary = self._path.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self._path)


def _latest(prices: Iterable[Kind]) -> dict[tuple[str, ...], Kind]:
    return {each.key: each for each in sorted(prices, key=lambda each: each.as_of) if each.price > 0}


def _sorted(prices: Mapping[tuple[str, ...], Any]) -> list[Any]:
    return [prices[key] for key in sorted(prices)]


def _facts(price: MachinePrice | EgressPrice) -> dict[str, str]:
    facts = {name: str(value) for name, value in vars(price).items() if name != "zone" or value}
    return {**facts, "as_of": price.as_of.isoformat()}


def _read(path: Path) -> PriceBook:
    try:
        document = json.loads(path.read_text())
        machines = [
            MachinePrice(**{**facts, "market": Market(facts["market"]), **_exact(facts)})
            for facts in document["machines"]
        ]
        return PriceBook.of(machines, [EgressPrice(**{**facts, **_exact(facts)}) for facts in document["egress"]])
    except (OSError, ValueError, KeyError, TypeError, InvalidOperation) as error:
        hint = "remove it, then burst offers update"
        raise SetupError(f"the price book {path} cannot be read: {error!r}", hint=hint) from None


def _exact(facts: Mapping[str, str]) -> dict[str, Any]:
    as_of = datetime.fromisoformat(facts["as_of"])
    if as_of.tzinfo is None:
        raise ValueError(f"{facts['as_of']} has no time zone")
    return {"price": Decimal(facts["price"]), "as_of": as_of}
