"""Provision: make the nodes that Slurm asks for, end those that it gives back, and keep both true to their records.

Invariant: intent before action (``launcher``). What Slurm must know it is told before a record says so; a machine is
forgotten only when the cloud's listing no longer has it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Protocol

import structlog

from gateway.errors import BootstrapFailed, BurstError, Capacity, CloudError, Conflict, NotFound
from gateway.provisioning.breakers import Breakers
from gateway.provisioning.drains import Drain
from gateway.provisioning.fleet import Change, Effect, ElasticNode, Fleet
from gateway.provisioning.gangs import GangVerdict, Together
from gateway.provisioning.launcher import FleetWork, GangInvitation, Join, Launcher, Owner, order_of
from gateway.provisioning.lifecycle import COMING, USABLE, Limits, NodeState, may_move
from gateway.provisioning.node import Machine, NodeProvider
from gateway.provisioning.reconcile import ASKED, decide
from gateway.provisioning.sources import Seen, SlurmStates
from gateway.provisioning.strays import orphans
from gateway.provisioning.supply import Supplies, Supply
from gateway.provisioning.verdict import Act, Verdict
from gateway.provisioning.wishes import JobNodes, Wishes

__all__ = ["FleetWork", "Join", "Owner", "Provisioner", "SlurmNodes", "order_of"]

log = structlog.get_logger(__name__)


class SlurmNodes(Protocol):
    """What Slurm must be told of its nodes."""

    def failed(self, node: str, reason: str) -> None:
        """It never came, or is lost: its jobs are to run elsewhere."""

    def gone(self, node: str) -> None:
        """Its machine is gone, so it may be asked for again."""

    def requeue(self, node: str, job: int | None, reason: str) -> None:
        """It is about to be lost: no new job starts on it, and its job is to run elsewhere."""

    def drain(self, node: str, reason: str) -> None:
        """It is to end: no new job starts on it, and its job may end there."""


@dataclass(frozen=True)
class Provisioner:
    """Moves nodes along their lifecycle, one step a call. Safe to call from several threads for different nodes."""

    cluster: str
    fleet: FleetWork
    provider: NodeProvider
    invite: Callable[[ElasticNode], Join]
    """Deterministic for a node's generation, so that a repeated launch invites the same machine."""
    slurm: SlurmNodes
    now: Callable[[], datetime]
    supplies: Supplies = field(default_factory=Supplies)
    breakers: Breakers = field(default_factory=Breakers)
    blind: Callable[[str], bool] = lambda _cloud: False
    """Whether a cloud's machines are out of sight: who could end a machine there that nobody needs?"""
    unread: Callable[[str], bool] = lambda _cloud: False
    """Whether a cloud has not told yet, since the start, which machines it has."""
    join_within: timedelta = timedelta(minutes=5)
    """How long the token of an ordered machine is good."""
    limits: Limits = field(default_factory=Limits)
    reaped: Callable[[str], bool] = lambda _cloud: True
    """Whether the orphans of a cloud are looked for in time."""
    owner_of: Callable[[int], Owner] = lambda _job: Owner()
    """Whose job Slurm's job of this id is."""
    invite_gang: Callable[[tuple[ElasticNode, ...]], GangInvitation] | None = None
    """Where machines made by one call share their user-data; None: each has its own."""
    holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Who holds the nodes that it works on, to other processes on the same database."""

    def want(self, names: Collection[str], jobs: Collection[JobNodes] = (), *, begin: bool = False) -> tuple[str, ...]:
        """ResumeProgram: note that Slurm wants these nodes, for these jobs; unknown names are left out and returned.

        A node that is on its way or in use has been asked for already: the request is a replay and changes nothing.
        ``begin``: nodes that are OFF begin their next generation in the same transaction, and not each by a step.
        """
        with self.fleet() as fleet:
            known = {node.name: node for node in fleet.all()}
            wishes, now = Wishes(known, jobs), self.now()
            noted, begun = [], []
            for node in (known[name] for name in dict.fromkeys(names) if name in known):
                facts = wishes.of(node.name, now)
                if begin and node.state is NodeState.OFF:
                    begun.append(Change(node, {**facts, **_begun(node, facts["wanted_by"]), "reason": ASKED}, ASKED))
                else:
                    noted.append(Change(node, facts))
            fleet.note_all(noted)
            fleet.move_all(begun, NodeState.INTENT, now)
        return tuple(name for name in names if name not in known)

    def release(self, names: Iterable[str], reason: str) -> None:
        """SuspendProgram: Slurm is done with these nodes."""
        with self.fleet() as fleet:
            for name in names:
                try:
                    self._let_go(fleet, fleet.note(fleet.get(name), wanted=False), reason)
                except NotFound:
                    continue

    def step(self, node: ElasticNode, machine: Seen, slurm: SlurmStates, drain: Drain = Drain.NONE) -> bool:
        """Do the one thing that is next for ``node``; whether it moved on, so that the next may be due at once.

        Another worker's move makes it a no-op.
        """
        verdict = decide(node, machine, slurm, self.now(), limits=self.limits, drain=drain)
        if verdict.act is Act.LAUNCH and self._launcher.waits((node,)):
            return False
        try:
            self._perform(node, verdict, machine)
        except Conflict:
            return False
        return verdict.act in {Act.MOVE, Act.LAUNCH, Act.REQUEUE}

    def step_together(self, verdict: GangVerdict, seen: Mapping[str, Seen]) -> bool:
        """Do what is next for a gang (``gangs.judge``); whether it moved on."""
        if verdict.act is Together.LAUNCH and self._launcher.waits(verdict.nodes):
            return False
        try:
            match verdict.act:
                case Together.LAUNCH:
                    self._launch(verdict.nodes, seen)
                case Together.ELSEWHERE | Together.FAIL:
                    self._give_up(verdict, seen)
                case Together.ALONE | Together.WAIT:
                    return False
        except Conflict:
            return False
        return True

    def reap(self, machines: Collection[Machine], seen_before: Collection[str]) -> frozenset[str]:
        """End the orphans that were orphans last time too; return the ids of those seen now.

        What late workers made is seen to first. One that does not end keeps no other from being ended.
        """
        with self.fleet() as fleet:
            nodes = {node.name: node for node in fleet.all()}
            effects = fleet.effects()
        for effect in effects:
            self._isolated(partial(self._settle, effect, nodes.get(effect.node)), effect.machine_id)
        found = orphans(machines, nodes)
        for machine in found:
            if machine.id in seen_before:
                log.warning("ends a stray machine", machine=machine.id, node=machine.node)
                self._isolated(partial(self.provider.destroy, machine.id), machine.id)
        return frozenset(machine.id for machine in found)

    @cached_property
    def _launcher(self) -> Launcher:
        return Launcher(
            cluster=self.cluster,
            fleet=self.fleet,
            provider=self.provider,
            invite=self.invite,
            now=self.now,
            supplies=self.supplies,
            breakers=self.breakers,
            blind=self.blind,
            unread=self.unread,
            reaped=self.reaped,
            join_within=self.join_within,
            limits=self.limits,
            owner_of=self.owner_of,
            invite_gang=self.invite_gang,
            holder=self.holder,
        )

    def _perform(self, node: ElasticNode, verdict: Verdict, machine: Seen) -> None:
        match verdict.act:
            case Act.NOTHING:
                return
            case Act.MOVE:
                self._move(node, verdict, machine)
            case Act.LAUNCH:
                self._launch((node,), {node.name: machine})
            case Act.FAIL:
                self._fail(node, verdict.text)
            case Act.ELSEWHERE:
                self._elsewhere(node, machine, verdict.text)
            case Act.DESTROY:
                self._destroy(node, machine, verdict.text)
            case Act.REQUEUE:
                self._requeue(node, verdict.text)
            case Act.DRAIN | Act.OUT_OF_SERVICE:
                self._withdraw(node, verdict)
            case Act.UNHEARD | Act.HEARD:
                with self.fleet() as fleet:
                    fleet.note(node, unheard_since=self.now() if verdict.act is Act.UNHEARD else None)

    def _move(self, node: ElasticNode, verdict: Verdict, machine: Seen) -> None:
        assert verdict.state is not None  # noqa: S101 - a move has a state
        facts: dict[str, object] = {"reason": verdict.text}
        if verdict.state is NodeState.BOOTING and isinstance(machine, Machine):
            # Many clouds give them only now.
            facts |= {"address": machine.address or node.address, "public_addresses": machine.public_addresses}
        if verdict.state is NodeState.INTENT:
            facts |= _begun(node, node.wanted_by if node.wanted else None)
            facts |= {"wanted_at": node.wanted_at if node.wanted else self.now()}
            facts |= {"wanted_with": node.wanted_with if node.wanted else 1}
        if verdict.state is NodeState.OFF:
            facts |= _WITHOUT_MACHINE
            self.slurm.gone(node.name)
        if verdict.state in USABLE and node.state is NodeState.BOOTSTRAPPED and node.supply is not None:
            self.breakers.booted(Supply(node.supply))
        with self.fleet() as fleet:
            fleet.move(node, verdict.state, self.now(), verdict.text, **facts)
        if verdict.state is NodeState.STUCK_TERMINATING:
            log.error("alarm", what="a machine does not end", node=node.name, machine=node.machine_id)

    def _launch(self, nodes: tuple[ElasticNode, ...], seen: Mapping[str, Seen]) -> None:
        if never := self._launcher.launch(nodes, seen):
            with self.fleet() as fleet:
                known = fleet.get_all([node.name for node in nodes])
            nodes = tuple(known[node.name] for node in nodes)
            for node in nodes:
                self._fail(node, never)

    def _give_up(self, verdict: GangVerdict, seen: Mapping[str, Seen]) -> None:
        """Of the whole gang: end what there is, and let another supply be asked."""
        supply = verdict.nodes[0].supply
        if verdict.scarce and supply is not None:
            self.breakers.trip(Supply(supply), Capacity(verdict.text), self.now())
        for node in verdict.nodes:
            if verdict.act is Together.FAIL:
                self._fail(node, verdict.text)
            else:
                self._again(node, seen.get(node.name), verdict.text)

    def _elsewhere(self, node: ElasticNode, machine: Seen, text: str) -> None:
        if node.supply is not None:
            self.breakers.trip(Supply(node.supply), Capacity(text), self.now())
        self._again(node, machine, text)

    def _again(self, node: ElasticNode, machine: Seen, text: str) -> None:
        """Once what there is of its machine is gone, another generation asks the supplies."""
        text = f"{node.supply}: {text}"
        with self.fleet() as fleet:
            wish = {"wanted": True, "wanted_by": node.job if node.wanted_by is None else node.wanted_by}
            fleet.move(node, NodeState.TERMINATING, self.now(), text, reason=text, **wish)
        if (machine_id := machine.id if isinstance(machine, Machine) else node.machine_id) is not None:
            self.provider.destroy(machine_id)

    def _fail(self, node: ElasticNode, reason: str) -> None:
        # Slurm first: while it cannot be told, the node stays as it is and this is tried again.
        self.slurm.failed(node.name, reason)
        if node.state in _BOOTS and node.supply is not None:
            self.breakers.trip(Supply(node.supply), BootstrapFailed(reason), self.now())
        text = "\n".join(filter(None, (reason, self._console(node))))
        states = (NodeState.FAILED_BOOT, NodeState.TERMINATING, NodeState.OFF)
        # In service it boots no more: it only ends; without an order there is nothing to end.
        state = next(state for state in states if may_move(node.state, state))
        if state is NodeState.OFF:
            self.slurm.gone(node.name)  # else nobody would take back what Slurm was just told
        with self.fleet() as fleet:
            fleet.move(node, state, self.now(), text, reason=reason)

    def _withdraw(self, node: ElasticNode, verdict: Verdict) -> None:
        """From Slurm, which is not told so by any end of its machine."""
        if verdict.act is Act.DRAIN:
            self.slurm.drain(node.name, verdict.text)
            return
        self.slurm.failed(node.name, verdict.text)
        if node.wanted:
            with self.fleet() as fleet:
                fleet.note(node, wanted=False, reason=verdict.text)

    def _console(self, node: ElasticNode) -> str:
        try:
            return self.provider.console(node.machine_id)[-_CONSOLE_MOST:] if node.machine_id else ""
        except CloudError:
            return ""

    def _requeue(self, node: ElasticNode, reason: str) -> None:
        self.slurm.requeue(node.name, node.job, reason)
        with self.fleet() as fleet:
            text = f"its job goes back into the queue: {reason}"
            fleet.move(node, NodeState.STAGING_OUT, self.now(), text, reason=reason)

    def _destroy(self, node: ElasticNode, machine: Seen, reason: str) -> None:
        if node.state not in {NodeState.TERMINATING, NodeState.STUCK_TERMINATING}:
            with self.fleet() as fleet:
                node = fleet.move(node, NodeState.TERMINATING, self.now(), f"ending its machine: {reason}")
        # The listing knows a machine whose create call never came back to us.
        machine_id = machine.id if isinstance(machine, Machine) else node.machine_id
        if machine_id is not None:
            self.provider.destroy(machine_id)

    def _let_go(self, fleet: Fleet, node: ElasticNode, reason: str) -> None:
        if node.state in USABLE:
            fleet.move(node, NodeState.DRAINING, self.now(), reason, reason=reason)
        elif node.state is NodeState.INTENT:
            fleet.move(node, NodeState.OFF, self.now(), reason, reason=reason)
        elif node.state in COMING:
            fleet.move(node, NodeState.TERMINATING, self.now(), reason, reason=reason)

    def _settle(self, effect: Effect, node: ElasticNode | None) -> None:
        """End what a late worker made, unless it is the node's machine, or may still turn out to be."""
        current = node is not None and node.generation == effect.generation and node.state is not NodeState.OFF
        if current and node is not None and node.machine_id is None:
            return
        if not current or node is None or node.machine_id != effect.machine_id:
            self.provider.destroy(effect.machine_id)
        with self.fleet() as fleet:
            fleet.settle_effect(effect)

    def _isolated(self, act: Callable[[], None], machine: str) -> None:
        try:
            act()
        except BurstError as error:
            log.warning("a stray machine is not ended", machine=machine, error=error.detail)


def _begun(node: ElasticNode, job: int | None) -> dict[str, object]:
    """Of a node that begins its next generation, for ``job``."""
    return {"generation": node.generation + 1, "wanted": False, "job": job}


_CONSOLE_MOST = 2000
"""Characters of a failed machine's console that are kept."""

_BOOTS = frozenset({NodeState.BOOTING, NodeState.BOOTSTRAPPED})

_WITHOUT_MACHINE: Mapping[str, object] = {
    **dict.fromkeys(
        ("supply", "machine_id", "address", "join_token_hash", "join_until", "public_key", "lease_until", "job")
    ),
    **dict.fromkeys(("gang", "gang_number", "ordered_at", "unheard_since", "lock_until")),
    **dict.fromkeys(("owner", "account", "lock"), ""),
    **dict.fromkeys(("public_addresses", "ssh_host_keys"), ()),
}
