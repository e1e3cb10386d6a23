"""NodeRunner: reads what Slurm asks for and moves every open node one step at a time, those of a gang together.

Invariant: one node is in one worker's hand at a time; a failing node or source never stops the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from gateway.engines.engine import Engine
from gateway.errors import BurstError
from gateway.provisioning.doubt import Doubt
from gateway.provisioning.drains import Drain, drain_of
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.gangs import Gang, GangVerdict, Together, gangs_of, judge
from gateway.provisioning.lifecycle import COMING, USABLE, NodeState
from gateway.provisioning.listing import Lister, Listing
from gateway.provisioning.provision import Provisioner
from gateway.provisioning.reaper import Heartbeat, Reaper
from gateway.provisioning.sources import UNKNOWN, Seen, SlurmStates, Source
from gateway.provisioning.wishes import JobNodes
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
_WHOLE_EVERY_S = 10.0
"""So often every node is compared with Slurm, those too of which nothing is expected."""

_IN_MOTION = frozenset(NodeState) - {NodeState.OFF, NodeState.IDLE, NodeState.BUSY, NodeState.QUARANTINED}
_SLURM_KNOWS = frozenset({NodeState.BOOTSTRAPPED, NodeState.DRAINING, NodeState.STAGING_OUT, *USABLE})
"""States in which it matters at once what Slurm thinks of a node."""


@dataclass(frozen=True)
class Told:
    """What Slurm says of a node."""

    states: SlurmStates = Source.UNREAD
    drain: Drain = Drain.NONE


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
    clock: Callable[[], float] = time.monotonic
    """Seconds that only go forward."""
    pool: Executor | None = None
    """What acts; None: ``workers`` threads of its own."""
    heartbeat: Heartbeat | None = None

    def __post_init__(self) -> None:
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._pool = self.pool or ThreadPoolExecutor(self.workers, thread_name_prefix="node")
        self._thread = threading.Thread(target=self._run, name="nodes", daemon=True)
        heartbeat = self.heartbeat or Heartbeat(dict.fromkeys(self.lister.clouds, 0.0), self.clock)
        provisioner = self.provisioner
        self._reaper = Reaper(provisioner.reap, provisioner.provider, provisioner.cluster, heartbeat, self.clock)
        self._whole_at = 0.0
        self._lost: frozenset[str] = frozenset()
        self._coming: frozenset[str] = frozenset()

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
            known = fleet.all()
        nodes = [node for node in known if node.state is not NodeState.OFF or node.wanted]
        whole = self.clock() - self._whole_at >= _WHOLE_EVERY_S
        slurm = self._slurm() if whole or any(node.state in _SLURM_KNOWS for node in nodes) else None
        listing = self.lister.read() if nodes or self._reaper.due(self.lister.clouds) else Listing()
        listing = self.doubt.believed(listing, nodes)
        if whole and (forgotten := self._forgotten(known, slurm)):
            self._ask_again(forgotten)
        self._act(nodes, listing, slurm)
        self._publish(nodes)
        self._reaper.sweep(listing)
        self._clean()
        return _pause(nodes)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(attempt("look at the nodes", self.tick, failed=_BUSY_TICK_S))
            self._wake.clear()

    def _take_requests(self) -> None:
        for request in spooled(self.spool):
            log.info("slurm asks", program=request.program, nodes=fold(request.nodes))
            if request.program == "resume":
                unknown = self.provisioner.want(request.nodes, request.jobs, begin=True)
                if unknown:
                    log.warning("slurm asked for unknown nodes", nodes=unknown)
            else:
                why = "Slurm suspends it" if request.program == "suspend" else "Slurm gave up waiting for it"
                self.provisioner.release(request.nodes, why)
            request.done()

    def _slurm(self) -> Mapping[str, Told] | None:
        """Every node that Slurm has; None if it cannot be asked."""
        try:
            found = {node.name: Told(node.states, drain_of(node.states, node.reason)) for node in self.engine.nodes()}
        except BurstError as error:
            log.warning("slurm not read", error=error.detail)
            return None
        words = frozenset().union(*(told.states for told in found.values() if isinstance(told.states, frozenset)))
        if strange := sorted(words - NODE_STATES):
            log.error("alarm", what="Slurm has words for nodes that are not known here", words=strange)
        return found

    def _forgotten(self, known: Iterable[ElasticNode], slurm: Mapping[str, Told] | None) -> frozenset[str]:
        """Nodes that are OFF while Slurm waits for them, at this whole look and at the last: the request was lost."""
        self._whole_at = self.clock()
        if slurm is None:
            return frozenset()
        off = [node.name for node in known if node.state is NodeState.OFF and not node.wanted]
        waiting = frozenset(name for name in off if _powering_up(slurm.get(name, Told()).states))
        before, self._lost = self._lost, waiting
        return waiting & before

    def _ask_again(self, names: frozenset[str]) -> None:
        """As their request would have: for the jobs that Slurm has given these nodes to, so that gangs stay whole."""
        try:
            waiting = [job for job, states in self.engine.states().items() if "CONFIGURING" in states]
            tasks = [task for job in waiting for task in self.engine.job(job) if names & set(task.nodes)]
        except BurstError as error:
            log.warning("slurm not read", error=error.detail)
            return
        log.warning("slurm waits for nodes whose request was lost", nodes=fold(names))
        jobs = [JobNodes(task.id, task.nodes, tuple(name for name in task.nodes if name in names)) for task in tasks]
        self.provisioner.want(names, jobs)
        self.wake()

    def _publish(self, nodes: Iterable[ElasticNode]) -> None:
        """For the jobs that wait for nodes: which are usable, and which will not come."""
        usable = frozenset(node.name for node in nodes if node.state in USABLE)
        before, self._coming = self._coming, frozenset(n.name for n in nodes if n.wanted or n.state in COMING)
        self.ready.publish(usable, before - self._coming - usable)

    def _act(self, nodes: Collection[ElasticNode], listing: Listing, slurm: Mapping[str, Told] | None) -> None:
        together: set[str] = set()
        for gang in gangs_of(nodes):
            seen = {node.name: listing.of(node) for node in gang}
            verdict = judge(gang, seen, self.provisioner.now(), self.provisioner.limits)
            if verdict.act is not Together.ALONE:
                together |= {node.name for node in (gang if verdict.act is Together.WAIT else verdict.nodes)}
                self._act_together(verdict, seen)
        for node in nodes:
            if node.name not in together:
                self._act_alone(node, listing.of(node), _told(slurm, node))

    def _act_together(self, verdict: GangVerdict, seen: Mapping[str, Seen]) -> None:
        if verdict.act is Together.WAIT:
            return
        what = f"{verdict.act} the gang of {verdict.nodes[0].name}"
        self._submit(verdict.nodes, what, lambda: self.provisioner.step_together(verdict, seen))

    def _act_alone(self, node: ElasticNode, machine: Seen, told: Told) -> None:
        step = self.provisioner.step
        self._submit((node,), f"step node {node.name}", lambda: step(node, machine, told.states, told.drain))

    def _submit(self, nodes: Gang, what: str, step: Callable[[], bool]) -> None:
        """Let a worker do it, unless another has one of the nodes in hand."""
        taken = []
        for node in nodes:
            if not self.hands.take(node.name):
                break
            taken.append(node.name)
        if len(taken) == len(nodes):
            self._pool.submit(self._step, taken, what, step)
            return
        for name in taken:
            self.hands.give_back(name)

    def _step(self, names: Iterable[str], what: str, step: Callable[[], bool]) -> None:
        try:
            moved = attempt(what, step, failed=False)
        finally:
            for name in names:
                self.hands.give_back(name)
        if moved:
            self.wake()

    def _clean(self) -> None:
        if self._reaper.leftovers_due() and self.hands.take(_LEFTOVERS):
            self._pool.submit(self._step, (_LEFTOVERS,), "clean up what machines left", self._cleaned)

    def _cleaned(self) -> bool:
        self._reaper.clean()
        return False


_LEFTOVERS = "leftovers of all clouds"
"""In the hands of a worker, as a node would be; no node has such a name."""


def _told(slurm: Mapping[str, Told] | None, node: ElasticNode) -> Told:
    return Told() if slurm is None else slurm.get(node.name, Told(UNKNOWN))


def _powering_up(states: SlurmStates) -> bool:
    return isinstance(states, frozenset) and "POWERING_UP" in states


def _pause(nodes: Collection[ElasticNode]) -> float:
    states = {node.state for node in nodes}
    if NodeState.BOOTSTRAPPED in states:
        return _JOINING_TICK_S
    return _BUSY_TICK_S if states & _IN_MOTION or any(node.wanted for node in nodes) else _QUIET_TICK_S
