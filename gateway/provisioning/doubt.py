"""Doubt: a cloud's listing that suddenly lacks many machines is not believed at once.

Invariant: while a listing is doubted its cloud counts as unread, so no node fails and no machine ends because of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import structlog
from prometheus_client import Gauge

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import USABLE, NodeState
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Machine
from gateway.provisioning.supply import cloud_of
from gateway.settings import LOCAL_CLOUD

log = structlog.get_logger(__name__)

FEWEST = 5
SHARE = 0.3
"""So many lost at once, and more than this part of all, is rather a broken answer than a broken cloud."""
BELIEVED_AFTER_S = 600.0
"""A cloud that says the same for so long is right."""

_LISTED_BEFORE = frozenset({NodeState.BOOTING, NodeState.BOOTSTRAPPED, *USABLE})
"""A node is moved to BOOTING because a listing has its machine."""

DOUBTED = Gauge("burst_listing_doubted", "1 while a cloud's listing is not believed", ["cloud"])


class Doubt:
    """What each cloud's listing lacked, and since when. Used by one thread.

    ``sure``: clouds whose listing is no answer over a network; ``clock``: seconds that only go forward.
    """

    def __init__(self, sure: Collection[str] = (LOCAL_CLOUD,), clock: Callable[[], float] = time.monotonic) -> None:
        self._sure = frozenset(sure)
        self._clock = clock
        self._since: dict[str, float] = {}

    def believed(self, listing: Listing, nodes: Collection[ElasticNode]) -> Listing:
        """The listing without the clouds that are doubted."""
        clouds = {cloud: found for cloud, found in listing.clouds.items() if not self._doubts(cloud, found, nodes)}
        return Listing(clouds, listing.asked_at)

    def _doubts(self, cloud: str, found: Collection[Machine], nodes: Collection[ElasticNode]) -> bool:
        known = _known(cloud, nodes)
        lost = known.keys() - {machine.id for machine in found}
        if cloud in self._sure or len(lost) < FEWEST or len(lost) <= SHARE * len(known):
            self._since.pop(cloud, None)
            DOUBTED.labels(cloud).set(0)
            return False
        new = cloud not in self._since
        since = self._since.setdefault(cloud, self._clock())
        doubted = self._clock() - since < BELIEVED_AFTER_S
        DOUBTED.labels(cloud).set(int(doubted))
        if new:
            names = sorted(known[each] for each in lost)
            log.error(
                "alarm", what="a listing lacks many machines", cloud=cloud, lost=len(lost), of=len(known), nodes=names
            )
        return doubted


def _known(cloud: str, nodes: Collection[ElasticNode]) -> Mapping[str, str]:
    """Machine id → node, of those that a listing of this cloud has had."""
    mine = (node for node in nodes if node.state in _LISTED_BEFORE and cloud_of(node.supply or "") == cloud)
    return {node.machine_id: node.name for node in mine if node.machine_id is not None}
