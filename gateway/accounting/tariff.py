"""Tariff: what a node of each offer costs, and one priced line of a quote or bill.

Invariant: a price is positive; time is billed by the second and each line is rounded up to the next micro-credit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.accounting.units import format_credits
from gateway.errors import PriceUnknown
from gateway.jobs.terms import Rates

HOUR_S: Final = 3600
NODE_SECOND: Final = "node-second"
BYTE: Final = "byte"


class Priced(Protocol):
    """Anything with a name and a price for one node for one hour."""

    @property
    def name(self) -> str:
        """Of the offer."""

    @property
    def price_ucr_per_hour(self) -> int:
        """In micro-credits; 0 when it is not known."""


@dataclass(frozen=True)
class Line:
    """One priced line."""

    text: str
    quantity: int
    unit: str
    amount_ucr: int


def data_line(rates: Rates, in_bytes: int, out_bytes: int, tasks: int = 1, who: str = "") -> Line | None:
    """What so much data of each task costs on its way; None if nothing."""
    if not (amount := rates.cost_ucr(in_bytes, out_bytes)):
        return None
    text = f"{who}data between places, {in_bytes} B in and {out_bytes} B out{' a task' if tasks > 1 else ''}"
    return Line(text, tasks * (in_bytes + out_bytes), BYTE, tasks * amount)


@dataclass(frozen=True)
class Tariff:
    """Prices in micro-credits for one node for one hour, by the offer's name."""

    prices: Mapping[str, int]

    @classmethod
    def of(cls, offers: Iterable[Priced]) -> Tariff:
        """The tariff of ``offers``; an offer without a price is left out."""
        return cls({offer.name: offer.price_ucr_per_hour for offer in offers if offer.price_ucr_per_hour > 0})

    def price(self, offer: str) -> int:
        """Of one node for one hour. Raises PriceUnknown."""
        if (price := self.prices.get(offer, 0)) <= 0:
            raise PriceUnknown(f"The offer {offer} has no price.", hint="an administrator sets it in burst.toml")
        return price

    def charge(self, offer: str, node_seconds: int) -> int:
        """Micro-credits for that many node-seconds, rounded up."""
        return -(-self.price(offer) * node_seconds // HOUR_S)

    def line(self, offer: str, text: str, node_seconds: int) -> Line:
        """A priced line; the text is followed by the price."""
        rate = f"{format_credits(self.price(offer))} an hour"
        return Line(f"{text}, {rate}", node_seconds, NODE_SECOND, self.charge(offer, node_seconds))
