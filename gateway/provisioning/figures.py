"""Figures: what is counted of nodes and machines, for /metrics.

Invariant: no job's, person's or node's name is a label; what can be counted from the stored nodes is counted when it is
asked for, so a restart loses only what happened before it.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

from gateway.errors import CloudError
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.supply import cloud_of

NODES = Gauge("burst_nodes", "Nodes by size and state", ["offer", "state"])
PRICE = Gauge("burst_nodes_credits_per_hour", "Price of all machines that cost now, by size", ["offer"])
LAUNCHES = Counter("burst_launches", "Nodes ordered, by outcome: made, or the error's class", ["cloud", "outcome"])
STATE_SECONDS = Histogram(
    "burst_node_state_seconds",
    "How long nodes were in a state that they left",
    ["state"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
)
ORPHANS = Gauge("burst_orphans", "Machines with this cluster's tags that belong to no node", ["cloud"])
ORPHAN_AGE = Gauge("burst_orphan_age_seconds", "Since when the oldest orphan is seen", ["cloud"])

_UCR = 1_000_000
_COSTLESS = frozenset({NodeState.OFF, NodeState.INTENT, NodeState.CAPACITY_BLOCKED})


def count_nodes(nodes: Iterable[ElasticNode], prices_ucr: Mapping[str, int]) -> None:
    """Set what is told of the stored nodes; ``prices_ucr``: size → micro-credits for one node for one hour."""
    tally = Tally((node.offer, node.state) for node in nodes)
    NODES.clear()
    for (offer, state), count in tally.items():
        NODES.labels(offer, state).set(count)
    for offer, price_ucr in prices_ucr.items():
        costing = sum(count for (name, state), count in tally.items() if name == offer and state not in _COSTLESS)
        PRICE.labels(offer).set(costing * price_ucr / _UCR)


def launched(supply: str, nodes: int, error: CloudError | None = None) -> None:
    """An order for so many nodes was answered, or not: ``error`` says how."""
    outcome = "made" if error is None else type(error).__name__.lower()
    LAUNCHES.labels(cloud_of(supply), outcome).inc(nodes)


def left(node: ElasticNode, seconds: float) -> None:
    """A node left its state after so long; OFF is no stage of anything."""
    if node.state is not NodeState.OFF:
        STATE_SECONDS.labels(node.state).observe(max(0.0, seconds))


@dataclass
class OrphanWatch:
    """Remembers since when each orphan is seen. For one thread a cloud."""

    monotonic: Callable[[], float] = time.monotonic
    _since: dict[str, dict[str, float]] = field(default_factory=dict)

    def saw(self, cloud: str, ids: Collection[str]) -> None:
        """These are the orphans that a whole listing of ``cloud`` has now."""
        now, before = self.monotonic(), self._since.get(cloud, {})
        self._since[cloud] = {each: before.get(each, now) for each in ids}
        ORPHANS.labels(cloud).set(len(ids))
        ORPHAN_AGE.labels(cloud).set(now - min(self._since[cloud].values(), default=now))
