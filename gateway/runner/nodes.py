"""NodeRunner: reads what Slurm asks for and moves every open node one step at a time.

Invariant: one node is in one worker's hand at a time; a failing node or source never stops the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from gateway.engines.engine import Engine
from gateway.errors import BurstError
from gateway.provisioning.doubt import Doubt
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NOT_COMING, USABLE, NodeState
from gateway.provisioning.listing import Lister, Listing
from gateway.provisioning.provision import Provisioner
from gateway.provisioning.reconcile import Seen, Source
from gateway.route import Hands
from gateway.runner.periodic import attempt
from gateway.runner.site import NodesReady, spooled
from gateway.slurm.hostlists import fold
from gateway.slurm.states import NODE_STATES

log = structlog.get_logger(__name__)

_JOINING_TICK_S = 0.03
"""While slurmd is about to register: Slurm calls no program of ours then, and a job waits for it."""
_BUSY_TICK_S = 0.15
_QUIET_TICK_S = 1.0
_REAP_EVERY_S = 10.0

_IN_MOTION = frozenset(NodeState) - {NodeState.OFF, NodeState.IDLE, NodeState.BUSY}
_SLURM_KNOWS = frozenset({NodeState.BOOTSTRAPPED, *USABLE})
"""States in which it matters what Slurm thinks of a node."""


@dataclass
class NodeRunner:
    """One thread that looks, and a pool that acts."""

    provisioner: Provisioner
    lister: Lister
    engine: Engine
    spool: Path
    ready: NodesReady
    hands: Hands = field(default_factory=Hands)
    workers: int = 8
    doubt: Doubt = field(default_factory=Doubt)

    def __post_init__(self) -> None:
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="node")
        self._thread = threading.Thread(target=self._run, name="nodes", daemon=True)
        self._orphans: dict[str, frozenset[str]] = {}
        self._reaped_at: dict[str, float] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the steps that are under way."""
        self._stop.set()
        self.wake()
        self._thread.join()
        self._pool.shutdown(wait=True)
        self.lister.close()

    def wake(self) -> None:
        """Look now: something happened."""
        self._wake.set()

    def tick(self) -> float:
        """Look once; in how many seconds to look again."""
        self._take_requests()
        with self.provisioner.fleet() as fleet:
            nodes = [node for node in fleet.all() if node.state is not NodeState.OFF or node.wanted]
        listing = self.lister.read() if nodes or self._reap_due() else Listing()
        listing = self.doubt.believed(listing, nodes)
        slurm = self._slurm() if any(node.state in _SLURM_KNOWS for node in nodes) else {}
        for node in nodes:
            self._act(node, listing, slurm)
        coming = frozenset(node.name for node in nodes if node.wanted or node.state not in NOT_COMING)
        self.ready.publish(frozenset(node.name for node in nodes if node.state in USABLE), coming)
        self._reap(listing)
        return _pause(nodes)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(attempt("look at the nodes", self.tick, failed=_BUSY_TICK_S))
            self._wake.clear()

    def _take_requests(self) -> None:
        for request in spooled(self.spool):
            log.info("slurm asks", program=request.program, nodes=fold(request.nodes))
            if request.program == "resume":
                unknown = self.provisioner.want(request.nodes)
                if unknown:
                    log.warning("slurm asked for unknown nodes", nodes=unknown)
            else:
                why = "Slurm suspends it" if request.program == "suspend" else "Slurm gave up waiting for it"
                self.provisioner.release(request.nodes, why)
            request.done()

    def _slurm(self) -> Mapping[str, frozenset[str]] | Source:
        try:
            found = {node.name: node.states for node in self.engine.nodes()}
        except BurstError as error:
            log.warning("slurm not read", error=error.detail)
            return Source.UNREAD
        if strange := sorted(frozenset().union(*found.values()) - NODE_STATES):
            log.error("alarm", what="Slurm has words for nodes that are not known here", words=strange)
        return found

    def _act(
        self,
        node: ElasticNode,
        listing: Listing,
        slurm: Mapping[str, frozenset[str]] | Source,
    ) -> None:
        if not self.hands.take(node.name):
            return
        states = Source.UNREAD if isinstance(slurm, Source) else slurm.get(node.name, Source.UNREAD)
        self._pool.submit(self._step, node, listing.of(node), states)

    def _step(self, node: ElasticNode, machine: Seen, states: frozenset[str] | Source) -> None:
        try:
            what = f"step node {node.name}"
            moved = attempt(what, lambda: self.provisioner.step(node, machine, states), failed=False)
        finally:
            self.hands.give_back(node.name)
        if moved:
            self.wake()

    def _reap_due(self, *clouds: str) -> bool:
        oldest = min(self._reaped_at.get(cloud, 0.0) for cloud in clouds or self.lister.clouds)
        return time.monotonic() - oldest >= _REAP_EVERY_S

    def _reap(self, listing: Listing) -> None:
        for cloud, machines in listing.clouds.items():
            if self._reap_due(cloud):
                self._reaped_at[cloud] = time.monotonic()
                before = self._orphans.get(cloud, frozenset())
                reap = partial(self.provisioner.reap, machines, before)
                self._orphans[cloud] = attempt(f"end orphans at {cloud}", reap, failed=before)


def _pause(nodes: Collection[ElasticNode]) -> float:
    states = {node.state for node in nodes}
    if NodeState.BOOTSTRAPPED in states:
        return _JOINING_TICK_S
    return _BUSY_TICK_S if states & _IN_MOTION or any(node.wanted for node in nodes) else _QUIET_TICK_S
