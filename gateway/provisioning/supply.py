"""Supply: one size of one cloud that nodes of a Slurm size may come from, and the order in which these are asked.

Invariant: the order is the settings', or that of costs (``placement``); what has no known price is never asked; why one
is not asked at the moment, its breaker knows (``breakers``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import CloudError
from gateway.provisioning.node import Market
from gateway.settings import LOCAL_CLOUD, Settings

_NAME = re.compile(r"(?P<cloud>[^/]+)/(?P<size>[^@+]+)(@(?P<zone>[^+]+))?(?P<spot>\+spot)?")


@dataclass(frozen=True)
class Supply:
    """``name`` is "CLOUD/SIZE[@ZONE][+spot]"; ``most`` of its kind's machines are used at once, None: all there are."""

    name: str
    most: int | None = None
    cap_ucr: int | None = None
    """Most that one machine may cost an hour; None: anything."""
    bare_metal: bool = False

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


class Placer(Protocol):
    """Who knows prices and jobs."""

    def order(self, size: str, supplies: tuple[Supply, ...], job: int | None) -> tuple[Supply, ...]:
        """The supplies of a size as they are to be asked for Slurm's job; None: for whichever."""

    def refusal(self, supply: Supply, job: int | None) -> CloudError | None:
        """The error for which nothing may be ordered there, now and for this job."""


@dataclass(frozen=True)
class Supplies:
    """Slurm size → its supplies, as listed; a size that is not in ``known`` comes from the local cloud."""

    known: Mapping[str, tuple[Supply, ...]] = field(default_factory=dict)
    placer: Placer | None = None
    """None: they are asked as listed, whatever they cost."""

    @classmethod
    def of(cls, settings: Settings, placer: Placer | None = None) -> Supplies:
        """As the settings have them."""
        kinds = {f"{cloud.name}/{size.name}": size for cloud in settings.clouds for size in cloud.sizes}
        known = {}
        for size in settings.sizes:
            found = [(name, kinds.get(_kind(name))) for name in size.supplies]
            known[size.name] = tuple(
                Supply(
                    name,
                    kind.max_nodes if kind else None,
                    size.cap_ucr(name),
                    bare_metal=bool(kind and kind.bare_metal),
                )
                for name, kind in found
            )
        return cls(known, placer)

    def listed(self, size: str) -> tuple[Supply, ...]:
        """Those of a size, as the settings list them."""
        return self.known.get(size, (Supply(f"{LOCAL_CLOUD}/{size}"),))

    def of_size(self, size: str, job: int | None = None) -> tuple[Supply, ...]:
        """Those of a size, first choice of Slurm's ``job`` first."""
        listed = self.listed(size)
        return listed if self.placer is None else self.placer.order(size, listed, job)

    def refusal(self, supply: Supply, job: int | None = None) -> CloudError | None:
        """The error for which nothing may be ordered there: a price that is not known or too high, the job's wish."""
        return None if self.placer is None else self.placer.refusal(supply, job)

    def find(self, size: str, name: str) -> Supply:
        """The supply of this name; one that is in the settings no more has no limit."""
        return next((supply for supply in self.listed(size) if supply.name == name), Supply(name))

    def clouds(self, size: str) -> tuple[str, ...]:
        """The clouds that a size may come from, each once."""
        return tuple(dict.fromkeys(supply.cloud for supply in self.listed(size)))


def _kind(supply: str) -> str:
    """Whatever the zone and the market."""
    return re.split(r"[@+]", supply)[0]


def cloud_of(supply: str) -> str:
    """The cloud in "CLOUD/SIZE…"."""
    return supply.partition("/")[0]
