"""NodeRunner: reads what Slurm asks for and moves every open node one step at a time.

Invariant: one node is in one worker's hand at a time; a failing node or source never stops the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

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

_BUSY_TICK_S = 0.15
_QUIET_TICK_S = 1.0
_REAP_EVERY_S = 10.0

_IN_MOTION = frozenset(NodeState) - {NodeState.OFF, NodeState.IDLE, NodeState.BUSY}


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

    def tick(self) -> bool:
        """Look once; whether anything is in motion."""
        self._take_requests()
        with self.provisioner.fleet() as fleet:
            nodes = [node for node in fleet.all() if node.state is not NodeState.OFF or node.wanted]
        machines = self._machines() if nodes or self._reap_due() else {}
        slurm = self._slurm() if nodes else {}
        for node in nodes:
            self._act(node, machines, slurm)
        self.ready.publish(frozenset(node.name for node in nodes if node.state in USABLE))
        self._reap(machines)
        return any(node.state in _IN_MOTION or node.wanted for node in nodes)

    def _run(self) -> None:
        while not self._stop.is_set():
            moving = self._try("look at the nodes", self.tick)
            self._wake.wait(_BUSY_TICK_S if moving else _QUIET_TICK_S)
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
            self._try(f"step node {node.name}", lambda: self.provisioner.step(node, seen(node, machines), states))
        finally:
            self.hands.give_back(node.name)

    def _reap_due(self) -> bool:
        return time.monotonic() - self._reaped_at >= _REAP_EVERY_S

    def _reap(self, machines: Mapping[tuple[str, int], Machine] | Source) -> None:
        if isinstance(machines, Source) or not self._reap_due():
            return
        self._reaped_at = time.monotonic()
        self._orphans = self.provisioner.reap(machines.values(), self._orphans)

    def _try(self, what: str, action: Callable[[], bool | None]) -> bool:
        # The edge of a thread: an error is told and the next tick tries again.
        try:
            return bool(action())
        except BurstError as error:
            log.warning("could not", what=what, error=error.detail)
        except Exception:
            log.exception("could not", what=what)
        return True
