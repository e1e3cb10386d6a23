"""ReconciliationService: what the gateway would do next with every node and machine, and why.

Invariant: it only reads; the verdicts are those of the very function that the gateway acts by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.engines.engine import Engine
from gateway.errors import BurstError
from gateway.identity.authenticate import Reader
from gateway.identity.authorise import Action, authorise, demand
from gateway.provisioning.drains import Drain, drain_of
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.gangs import GangVerdict, Together, gangs_of, judge
from gateway.provisioning.lifecycle import Limits, NodeState
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Leftover, Machine
from gateway.provisioning.reconcile import decide
from gateway.provisioning.sources import UNKNOWN, SlurmStates, Source
from gateway.provisioning.strays import orphans
from gateway.work import Works


@dataclass(frozen=True)
class Clouds:
    """How each cloud is asked; both raise CloudError."""

    names: tuple[str, ...]
    machines: Callable[[str], tuple[Machine, ...]]
    leftovers: Callable[[], tuple[Leftover, ...]]


Told = tuple[SlurmStates, Drain]
"""What Slurm says of a node, and who took it out of service."""


@dataclass(frozen=True)
class ReconciliationService:
    """Reads the three sources of truth: our records, Slurm, each cloud's listing; in this order."""

    reads: Works
    engine: Engine
    clouds: Clouds
    limits: Limits
    now: Callable[[], datetime]

    def outlook(self, caller: Reader) -> wire.ReconciliationView:
        """One verdict for each node, and machines and leftovers that are nobody's. Raises Refused."""
        demand(authorise(caller, Action.RECONCILE))
        unread: dict[str, str] = {}
        with self.reads() as work:
            nodes = work.fleet.all()
        slurm = self._slurm(unread)
        listing = Listing(dict(self._listings(unread)))
        open_nodes = [node for node in nodes if node.state is not NodeState.OFF or node.wanted]
        together = self._together(open_nodes, listing)
        known = {node.name: node for node in nodes}
        found = [machine for machines in listing.clouds.values() for machine in orphans(machines, known)]
        return wire.ReconciliationView(
            at=self.now(),
            unread=unread,
            verdicts=tuple(self._verdict(node, listing, slurm, together.get(node.name)) for node in open_nodes),
            orphans=tuple(_orphan(machine) for machine in found),
            leftovers=tuple(self._leftovers(unread)),
        )

    def _slurm(self, unread: dict[str, str]) -> Mapping[str, Told] | None:
        try:
            return {node.name: (node.states, drain_of(node.states, node.reason)) for node in self.engine.nodes()}
        except BurstError as error:
            unread["slurm"] = error.detail
            return None

    def _listings(self, unread: dict[str, str]) -> Iterator[tuple[str, tuple[Machine, ...]]]:
        for cloud in self.clouds.names:
            try:
                yield cloud, self.clouds.machines(cloud)
            except BurstError as error:
                unread[cloud] = error.detail

    def _leftovers(self, unread: dict[str, str]) -> Iterator[wire.LeftoverView]:
        try:
            for each in self.clouds.leftovers():
                yield wire.LeftoverView(id=each.id, kind=each.kind, node=each.node, created_at=each.created_at)
        except BurstError as error:
            unread["leftovers"] = error.detail

    def _together(self, nodes: Collection[ElasticNode], listing: Listing) -> Mapping[str, GangVerdict]:
        """Node → the verdict on its gang, where it takes no step of its own."""
        found: dict[str, GangVerdict] = {}
        for gang in gangs_of(nodes):
            verdict = judge(gang, {node.name: listing.of(node) for node in gang}, self.now(), self.limits)
            if verdict.act is not Together.ALONE:
                found |= {node.name: verdict for node in verdict.nodes or gang}
        return found

    def _verdict(
        self, node: ElasticNode, listing: Listing, slurm: Mapping[str, Told] | None, together: GangVerdict | None
    ) -> wire.VerdictView:
        unread: Told = (Source.UNREAD, Drain.NONE)
        states, drain = unread if slurm is None else slurm.get(node.name, (UNKNOWN, Drain.NONE))
        machine = listing.of(node)
        alone = decide(node, machine, states, self.now(), limits=self.limits, drain=drain)
        return wire.VerdictView(
            node=node.name,
            state=node.state,
            slurm=tuple(sorted(states)) if isinstance(states, frozenset) else (),
            cloud=machine.state if isinstance(machine, Machine) else "none" if machine is None else "not read",
            act=f"{together.act}, with its gang" if together else alone.act,
            text=together.text if together else alone.text,
        )


def _orphan(machine: Machine) -> wire.OrphanView:
    return wire.OrphanView(
        id=machine.id,
        node=machine.node,
        generation=machine.generation,
        state=machine.state,
        created_at=machine.created_at,
    )
