"""Supply: one size of one cloud that nodes of a Slurm size may come from, and the order in which these are asked.

Invariant: the order is the settings'; why one is not asked at the moment, its breaker knows (``breakers``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.provisioning.node import Market
from gateway.settings import LOCAL_CLOUD, Settings

_NAME = re.compile(r"(?P<cloud>[^/]+)/(?P<size>[^@+]+)(@(?P<zone>[^+]+))?(?P<spot>\+spot)?")


@dataclass(frozen=True)
class Supply:
    """``name`` is "CLOUD/SIZE[@ZONE][+spot]"; ``most`` of its kind's machines are used at once, None: all there are."""

    name: str
    most: int | None = None

    @property
    def kind(self) -> str:
        """Whatever the zone and the market: "CLOUD/SIZE"."""
        return _kind(self.name)

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

    @classmethod
    def of(cls, settings: Settings) -> Supplies:
        """As the settings have them."""
        most = {f"{cloud.name}/{size.name}": size.max_nodes for cloud in settings.clouds for size in cloud.sizes}
        return cls(
            {size.name: tuple(Supply(name, most.get(_kind(name))) for name in size.supplies) for size in settings.sizes}
        )

    def of_size(self, size: str) -> tuple[Supply, ...]:
        """Those of a size, first choice first."""
        return self.known.get(size, (Supply(f"{LOCAL_CLOUD}/{size}"),))

    def find(self, size: str, name: str) -> Supply:
        """The supply of this name; one that is in the settings no more has no limit."""
        return next((supply for supply in self.of_size(size) if supply.name == name), Supply(name))

    def clouds(self, size: str) -> tuple[str, ...]:
        """The clouds that a size may come from, each once."""
        return tuple(dict.fromkeys(supply.cloud for supply in self.of_size(size)))


def _kind(supply: str) -> str:
    """Whatever the zone and the market."""
    return re.split(r"[@+]", supply)[0]


def cloud_of(supply: str) -> str:
    """The cloud in "CLOUD/SIZE…"."""
    return supply.partition("/")[0]
