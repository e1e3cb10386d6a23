"""Node types: Slurm's sizes, the machines that clouds have, and the ordered offers that join the two; settings.

Invariant: an offer names one cloud, one of its sizes, zones in their order and a market; what it comes to, one supply a
zone and market, is decided here alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CREDIT: Final = 1_000_000
"""Micro-credits in a credit."""

LOCAL_CLOUD: Final = "local"
"""Name of this computer among the clouds."""

BOOK: Final = "book"
"""In place of a price: the price book has it."""

Order = Literal["listed", "cheapest"]
Market = Literal["on-demand", "spot", "spot-first"]
Price = float | Literal["book"]

_NAME = re.compile(r"(?P<cloud>[^/@+\s]+)/(?P<size>[^/@+\s]+)(@(?P<zone>[^/@+\s]+))?(?P<spot>\+spot)?")
_PART = r"^[^/@+\s]+$"


class OfferSettings(BaseModel):
    """One place that nodes of a size may come from; "CLOUD/SIZE[@ZONE][+spot]" is short for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cloud: str = Field(pattern=_PART, description='name of one of `clouds`, or "local"')
    size: str = Field(pattern=_PART, description="one of that cloud's sizes")
    zones: tuple[str, ...] = Field(
        default=(), description="the cloud's own names, first choice first; none: the cloud chooses"
    )
    market: Market = Field(
        default="on-demand", description="spot-first: spot in every zone, then on-demand in every zone"
    )
    max_credits_per_hour: float | None = Field(
        default=None, gt=0, description="no machine is ordered here above this price; default: the size's"
    )

    @field_validator("zones")
    @classmethod
    def _named(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        if unfit := next((zone for zone in zones if not re.fullmatch(_PART, zone)), None):
            raise ValueError(f"{unfit!r} is no name of a zone")
        if len(set(zones)) < len(zones):
            raise ValueError("a zone is named twice")
        return zones

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        """The short form, taken apart."""
        if not isinstance(given, str):
            return given
        if not (found := _NAME.fullmatch(given)):
            raise ValueError(f'{given!r} is no offer; write "CLOUD/SIZE", "CLOUD/SIZE@ZONE" or "CLOUD/SIZE@ZONE+spot"')
        zones = (found["zone"],) if found["zone"] else ()
        market = "spot" if found["spot"] else "on-demand"
        return {"cloud": found["cloud"], "size": found["size"], "zones": zones, "market": market}

    @property
    def kind(self) -> str:
        """Whatever the zone and the market: "CLOUD/SIZE"."""
        return f"{self.cloud}/{self.size}"

    @property
    def supplies(self) -> tuple[str, ...]:
        """Their full names, "CLOUD/SIZE[@ZONE][+spot]", first choice first."""
        markets = {"on-demand": ("",), "spot": ("+spot",), "spot-first": ("+spot", "")}[self.market]
        zones = tuple(f"@{zone}" for zone in self.zones) or ("",)
        return tuple(f"{self.kind}{zone}{market}" for market in markets for zone in zones)


class SizeSettings(BaseModel):
    """One size of Slurm nodes; the local cloud offers it, other clouds may."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z][a-z0-9]{0,15}$", description="also the prefix of the node names: small-1, small-2, …"
    )
    cores: int = Field(ge=1)
    memory_mb: int = Field(ge=128)
    gpus: int = Field(
        default=0, ge=0, description="declared as Slurm GRES gpu; the local cloud has no devices behind them"
    )
    gpu_type: str = Field(
        default="", pattern=r"^([a-z][a-z0-9_]{0,31})?$", description="Slurm's name of the GPUs: a100 in --gpus=a100:2"
    )
    gpu_files: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._/-]+(\[[0-9,-]+\])?)?$",
        description="their device files on a node, as gres.conf's File has them: /dev/nvidia[0-1]; default: none",
    )
    credits_per_hour: Price = Field(
        description='price of one node for one hour, in credits; "book": that of its dearest offer that may be used'
    )
    max_nodes: int = Field(ge=1, le=500)
    min_nodes: int = Field(default=0, ge=0, description="so many are kept on, the first of the size; they always cost")
    offers: tuple[OfferSettings, ...] = Field(
        default=(),
        description='where its nodes come from, as "CLOUD/SIZE[@ZONE][+spot]" or a table, first choice first; default: '
        'the local cloud alone, "local/NAME"',
    )
    order: Order | None = Field(default=None, description="order in which offers are asked; default: the setting order")
    max_credits_per_hour: float | None = Field(
        default=None, gt=0, description="no machine is ordered above this price, wherever; none: no cap"
    )

    @field_validator("credits_per_hour", mode="before")
    @classmethod
    def _positive(cls, price: object) -> object:
        return _priced(price)

    @model_validator(mode="after")
    def _fits_itself(self) -> SizeSettings:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes {self.min_nodes} is more than max_nodes {self.max_nodes}")
        if self.gpu_type and not self.gpus:
            raise ValueError("gpu_type names GPUs, and gpus is 0")
        twice = [name for name in self.supplies if self.supplies.count(name) > 1]
        if twice:
            raise ValueError(f"offers: {twice[0]} is named twice")
        if self.credits_per_hour == BOOK and any(name.startswith(f"{LOCAL_CLOUD}/") for name in self.supplies):
            raise ValueError("credits_per_hour: the local cloud has no price list; write a price")
        return self

    @property
    def supplies(self) -> tuple[str, ...]:
        """All of its ``offers``, a zone and market each, or what stands for none."""
        named = tuple(name for offer in self.offers for name in offer.supplies)
        return named or (f"{LOCAL_CLOUD}/{self.name}",)

    @property
    def price_ucr_per_hour(self) -> int | None:
        """None: the price book has it."""
        return _ucr(self.credits_per_hour)

    def cap_ucr(self, supply: str) -> int | None:
        """The most that a machine of this supply may cost an hour; None: anything."""
        offered = next((offer for offer in self.offers if supply in offer.supplies), None)
        caps = (offered.max_credits_per_hour if offered else None, self.max_credits_per_hour)
        return next((round(cap * CREDIT) for cap in caps if cap is not None), None)


class CloudSizeSettings(BaseModel):
    """One size of machine that a cloud offers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_PART, max_length=64, description="the cloud's own name of it: t3.small, m1.small, …")
    cores: int = Field(ge=1)
    memory_mb: int = Field(ge=128)
    gpus: int = Field(default=0, ge=0)
    credits_per_hour: Price = Field(
        description='what it costs the site, in credits, or "book": as the price book has it; jobs pay their size\'s '
        "price"
    )
    spot_credits_per_hour: Price = Field(default=BOOK, description="the same of a spot machine")
    max_nodes: int = Field(ge=1, le=500, description="most of them at once, in all zones and markets together")
    bare_metal: bool = Field(default=False, description="a whole machine, which takes long to start")

    @field_validator("credits_per_hour", "spot_credits_per_hour", mode="before")
    @classmethod
    def _positive(cls, price: object) -> object:
        return _priced(price)

    @property
    def price_ucr_per_hour(self) -> int | None:
        """On demand; None: the price book has it."""
        return _ucr(self.credits_per_hour)

    @property
    def spot_ucr_per_hour(self) -> int | None:
        """None: the price book has it."""
        return _ucr(self.spot_credits_per_hour)


def check_offer(
    size: SizeSettings, offer: OfferSettings, sizes: Mapping[str, SizeSettings | CloudSizeSettings]
) -> None:
    """Raise ValueError unless the offer is one of ``sizes``, by "CLOUD/SIZE", and has what its size promises."""
    if offer.kind not in sizes:
        raise ValueError(f"size {size.name}: there is no offer {offer.kind}; there are {', '.join(sizes)}")
    if less := _less(sizes[offer.kind], size):
        raise ValueError(f"size {size.name}: its offer {offer.kind} has less {less}")
    if offer.cloud == LOCAL_CLOUD and (offer.zones or offer.market != "on-demand"):
        raise ValueError(f"size {size.name}: the local cloud has neither zones nor spot machines")


def _less(offer: SizeSettings | CloudSizeSettings, size: SizeSettings) -> str:
    """What an offer has less of than a size promises; "" if of nothing."""
    return next((what for what in ("cores", "memory_mb", "gpus") if getattr(offer, what) < getattr(size, what)), "")


def _priced(price: object) -> object:
    number = isinstance(price, int | float) and not isinstance(price, bool)
    if price != BOOK and not (number and 0 < price < float("inf")):  # type: ignore[operator]
        raise ValueError('a price is a number of credits above 0, or "book"; what has no price is never ordered')
    return price


def _ucr(price: Price) -> int | None:
    return None if isinstance(price, str) else max(1, round(price * CREDIT))
