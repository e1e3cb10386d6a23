"""Supply: one size of one cloud that nodes of a Slurm size may come from, and the order in which these are asked.

Invariant: a supply that has no room is asked last for a while, never left out: a round asks every one of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.provisioning.node import Market
from gateway.settings import LOCAL_CLOUD, Settings

BACK_OFF = timedelta(seconds=120)
"""How long a supply that had no room is asked after the others."""


_NAME = re.compile(r"(?P<cloud>[^/]+)/(?P<size>[^@+]+)(@(?P<zone>[^+]+))?(?P<spot>\+spot)?")


@dataclass(frozen=True)
class Supply:
    """``name`` is "CLOUD/SIZE[@ZONE][+spot]"; ``most`` of its machines are used at once, None: as many as there are."""

    name: str
    most: int | None = None

    @property
    def cloud(self) -> str:
        """Which cloud's it is."""
        return cloud_of(self.name)

    @property
    def size(self) -> str:
        """The cloud's own name of the size."""
        return self._part("size")

    @property
    def zone(self) -> str:
        """The cloud's own name of the zone; "": the cloud chooses."""
        return self._part("zone")

    @property
    def market(self) -> Market:
        """On what terms."""
        return Market.SPOT if self._part("spot") else Market.ON_DEMAND

    def _part(self, group: str) -> str:
        found = _NAME.fullmatch(self.name)
        return (found[group] or "") if found else ""


@dataclass(frozen=True)
class Supplies:
    """Slurm size → its supplies, first choice first; a size that is not in ``known`` comes from the local cloud."""

    known: Mapping[str, tuple[Supply, ...]] = field(default_factory=dict)
    _full_until: dict[str, datetime] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, settings: Settings) -> Supplies:
        """As the settings have them."""
        most = {f"{cloud.name}/{size.name}": size.max_nodes for cloud in settings.clouds for size in cloud.sizes}
        return cls(
            {size.name: tuple(Supply(name, most.get(name)) for name in size.supplies) for size in settings.sizes}
        )

    def next(self, size: str, asked: Collection[str], now: datetime) -> Supply | None:
        """The one to ask now, of those not in ``asked``; None when all have been."""
        left = [supply for supply in self._of(size) if supply.name not in asked]
        return min(left, key=lambda supply: self._full_until.get(supply.name, now) > now, default=None)

    def find(self, size: str, name: str) -> Supply:
        """The supply of this name; one that is in the settings no more has no limit."""
        return next((supply for supply in self._of(size) if supply.name == name), Supply(name))

    def full(self, name: str, now: datetime) -> None:
        """It had no room just now."""
        self._full_until[name] = now + BACK_OFF

    def clouds(self, size: str) -> tuple[str, ...]:
        """The clouds that a size may come from, each once."""
        return tuple(dict.fromkeys(supply.cloud for supply in self._of(size)))

    def _of(self, size: str) -> Iterable[Supply]:
        return self.known.get(size, (Supply(f"{LOCAL_CLOUD}/{size}"),))


def cloud_of(supply: str) -> str:
    """The cloud in "CLOUD/SIZE…"."""
    return supply.partition("/")[0]
