"""Reaper: ends the machines, and what machines left behind, that nobody wants; its heartbeat lets others be ordered.

Invariant: nothing is ended that was not seen twice, and nothing is ordered at a cloud whose last whole sweep is older
than three rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import structlog
from prometheus_client import Gauge

from gateway.errors import BurstError, CloudError
from gateway.provisioning.figures import OrphanWatch
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Leftover, Machine, NodeProvider

log = structlog.get_logger(__name__)

EVERY_S = 10.0
LEFTOVERS_EVERY_S = 60.0
ROUNDS = 3
"""Without a sweep for so many rounds nobody ends what is forgotten."""
PATIENCE_S = 60.0
"""So long at least a cloud may be out of sight."""

SWEPT = Gauge("burst_reaper_swept_timestamp_seconds", "When a cloud's stray machines were last looked for", ["cloud"])


class Heartbeat:
    """When each cloud was last swept whole. From any thread. ``clock``: seconds that only go forward."""

    def __init__(self, poll_s: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._poll_s = dict(poll_s)
        self._clock = clock
        self._swept = dict.fromkeys(poll_s, clock())

    def beat(self, cloud: str) -> None:
        """It was swept just now."""
        self._swept[cloud] = self._clock()
        SWEPT.labels(cloud).set(time.time())

    def age(self, cloud: str) -> float:
        """Seconds since the last whole sweep; since the start where there was none."""
        return self._clock() - self._swept.get(cloud, self._clock())

    def alive(self, cloud: str) -> bool:
        """Whether machines may be ordered there."""
        return self.age(cloud) <= max(PATIENCE_S, ROUNDS * max(EVERY_S, self._poll_s.get(cloud, 0.0)))

    def due(self, cloud: str) -> bool:
        """Whether it is to be swept again."""
        return self._swept.get(cloud) is None or self.age(cloud) >= EVERY_S


Reap = Callable[[Collection[Machine], Collection[str]], frozenset[str]]
"""``Provisioner.reap``."""


@dataclass
class Reaper:
    """One a process; for one thread, but for ``clean``, which may be another's."""

    reap: Reap
    provider: NodeProvider
    cluster: str
    heartbeat: Heartbeat
    clock: Callable[[], float] = time.monotonic
    watch: OrphanWatch = field(default_factory=OrphanWatch)
    _seen: dict[str, frozenset[str]] = field(default_factory=dict)
    _left: frozenset[str] = frozenset()
    _cleaned_at: float | None = None
    _first: set[str] = field(default_factory=set)

    def due(self, clouds: Collection[str]) -> bool:
        """Whether a listing is wanted of one of these clouds, though no node may need one."""
        return any(self._due(cloud) for cloud in clouds)

    def sweep(self, listing: Listing) -> None:
        """End what was a stray at the last sweep too, in each cloud of ``listing`` that is due."""
        for cloud, machines in listing.clouds.items():
            if self._due(cloud):
                self._sweep(cloud, machines)

    def leftovers_due(self) -> bool:
        """Whether it is time to ask what machines left behind."""
        return self._cleaned_at is None or self.clock() - self._cleaned_at >= LEFTOVERS_EVERY_S

    def clean(self) -> None:
        """Remove what was left over at the last look too; asks clouds, so it may take long."""
        self._cleaned_at = self.clock()
        try:
            found = self.provider.leftovers(self.cluster)
        except CloudError as error:
            log.warning("leftovers not read", error=error.detail)
            return
        for each in found:
            if each.id in self._left:
                self._remove(each)
        self._left = frozenset(each.id for each in found)

    def _due(self, cloud: str) -> bool:
        return cloud not in self._first or self.heartbeat.due(cloud)

    def _sweep(self, cloud: str, machines: Collection[Machine]) -> None:
        before = self._seen.get(cloud, frozenset())
        try:
            self._seen[cloud] = self.reap(machines, before)
            self.watch.saw(cloud, self._seen[cloud])
        except BurstError as error:
            log.warning("strays not ended", cloud=cloud, error=error.detail)
        except Exception:
            log.exception("strays not ended", cloud=cloud)
        else:
            self._first.add(cloud)
            self.heartbeat.beat(cloud)

    def _remove(self, leftover: Leftover) -> None:
        try:
            self.provider.clean(leftover)
        except CloudError as error:
            log.warning("a leftover is not removed", leftover=leftover.id, error=error.detail)
        else:
            log.info("removed a leftover", leftover=leftover.id, kind=leftover.kind, node=leftover.node)
