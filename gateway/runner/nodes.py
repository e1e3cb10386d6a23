"""NodeRunner: reads what Slurm asks for and moves every open node one step at a time.

Invariant: one node is in one worker's hand at a time; a failing node or source never stops the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from gateway.engines.engine import Engine
from gateway.errors import BurstError
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import USABLE, NodeState
from gateway.provisioning.node import Machine
from gateway.provisioning.provision import Provisioner, seen
from gateway.provisioning.reconcile import Source
from gateway.route import Hands
from gateway.runner.site import NodesReady, spooled
from gateway.slurm.hostlists import fold

log = structlog.get_logger(__name__)

_JOINING_TICK_S = 0.03
"""While slurmd is about to register: Slurm calls no program of ours then, and a job waits for it."""
_BUSY_TICK_S = 0.15
"""Also how often at most the cloud is asked for its listing."""
_QUIET_TICK_S = 1.0
_REAP_EVERY_S = 10.0

_IN_MOTION = frozenset(NodeState) - {NodeState.OFF, NodeState.IDLE, NodeState.BUSY}
_SLURM_KNOWS = frozenset({NodeState.BOOTSTRAPPED, *USABLE})
"""States in which it matters what Slurm thinks of a node."""

T = TypeVar("T")


@dataclass
class NodeRunner:
    """One thread that looks, and a pool that acts."""

    provisioner: Provisioner
    engine: Engine
    spool: Path
    ready: NodesReady
    hands: Hands = field(default_factory=Hands)
    workers: int = 8

    def __post_init__(self) -> None:
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="node")
        self._thread = threading.Thread(target=self._run, name="nodes", daemon=True)
        self._orphans: frozenset[str] = frozenset()
        self._reaped_at = 0.0
        self._listed_at = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the steps that are under way."""
        self._stop.set()
        self.wake()
        self._thread.join()
        self._pool.shutdown(wait=True)

    def wake(self) -> None:
        """Look now: something happened."""
        self._wake.set()

    def tick(self) -> float:
        """Look once; in how many seconds to look again."""
        self._take_requests()
        with self.provisioner.fleet() as fleet:
            nodes = [node for node in fleet.all() if node.state is not NodeState.OFF or node.wanted]
        machines = self._machines() if nodes or self._reap_due() else {}
        slurm = self._slurm() if any(node.state in _SLURM_KNOWS for node in nodes) else {}
        for node in nodes:
            self._act(node, machines, slurm)
        self.ready.publish(frozenset(node.name for node in nodes if node.state in USABLE))
        self._reap(machines)
        return _pause(nodes)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._try("look at the nodes", self.tick, failed=_BUSY_TICK_S))
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

    def _machines(self) -> Mapping[tuple[str, int], Machine] | Source:
        if time.monotonic() - self._listed_at < _BUSY_TICK_S:
            return Source.UNREAD
        self._listed_at = time.monotonic()
        try:
            listed = self.provisioner.provider.machines(self.provisioner.cluster)
        except BurstError as error:
            log.warning("cloud not read", error=error.detail)
            return Source.UNREAD
        return {(machine.node, machine.generation): machine for machine in listed}

    def _slurm(self) -> Mapping[str, frozenset[str]] | Source:
        try:
            return {node.name: node.states for node in self.engine.nodes()}
        except BurstError as error:
            log.warning("slurm not read", error=error.detail)
            return Source.UNREAD

    def _act(
        self,
        node: ElasticNode,
        machines: Mapping[tuple[str, int], Machine] | Source,
        slurm: Mapping[str, frozenset[str]] | Source,
    ) -> None:
        if not self.hands.take(node.name):
            return
        states = Source.UNREAD if isinstance(slurm, Source) else slurm.get(node.name, Source.UNREAD)
        self._pool.submit(self._step, node, machines, states)

    def _step(
        self,
        node: ElasticNode,
        machines: Mapping[tuple[str, int], Machine] | Source,
        states: frozenset[str] | Source,
    ) -> None:
        try:
            what = f"step node {node.name}"
            moved = self._try(what, lambda: self.provisioner.step(node, seen(node, machines), states), failed=False)
        finally:
            self.hands.give_back(node.name)
        if moved:
            self.wake()

    def _reap_due(self) -> bool:
        return time.monotonic() - self._reaped_at >= _REAP_EVERY_S

    def _reap(self, machines: Mapping[tuple[str, int], Machine] | Source) -> None:
        if isinstance(machines, Source) or not self._reap_due():
            return
        self._reaped_at = time.monotonic()
        self._orphans = self.provisioner.reap(machines.values(), self._orphans)

    def _try(self, what: str, action: Callable[[], T], *, failed: T) -> T:
        # The edge of a thread: an error is told and the next tick tries again.
        try:
            return action()
        except BurstError as error:
            log.warning("could not", what=what, error=error.detail)
        except Exception:
            log.exception("could not", what=what)
        return failed


def _pause(nodes: Collection[ElasticNode]) -> float:
    states = {node.state for node in nodes}
    if NodeState.BOOTSTRAPPED in states:
        return _JOINING_TICK_S
    return _BUSY_TICK_S if states & _IN_MOTION or any(node.wanted for node in nodes) else _QUIET_TICK_S
