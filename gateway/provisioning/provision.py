"""Provision: make the nodes that Slurm asks for, end those that it gives back, and keep both true to their records.

Invariant: intent before action. A node's generation and token are stored before the cloud is called, so every call
can be repeated; a machine is forgotten only when the cloud's listing no longer has it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from gateway.errors import Ambiguous, Capacity, CloudError, Conflict, LimitReached, NotFound, Price, Quota, Unlisted
from gateway.provisioning.breakers import Breakers
from gateway.provisioning.fleet import ElasticNode, Fleet
from gateway.provisioning.lifecycle import USABLE, NodeState
from gateway.provisioning.node import Machine, NodeOrder, NodeProvider
from gateway.provisioning.reconcile import Act, Seen, SlurmStates, Verdict, decide, orphans
from gateway.provisioning.supply import Supplies, Supply

FleetWork = Callable[[], AbstractContextManager[Fleet]]
"""Opens a transaction on the fleet."""


@dataclass(frozen=True)
class Join:
    """How a new machine becomes this node: the hash that is stored, the user-data that carries the token."""

    token_hash: str
    user_data: str


class SlurmNodes(Protocol):
    """What Slurm must be told of its nodes."""

    def failed(self, node: str, reason: str) -> None:
        """It never came, or is lost: its jobs are to run elsewhere."""

    def gone(self, node: str) -> None:
        """Its machine is gone, so it may be asked for again."""


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
    join_within: timedelta = timedelta(minutes=5)
    """How long the token of an ordered machine is good."""

    def want(self, names: Iterable[str]) -> tuple[str, ...]:
        """ResumeProgram: note that Slurm wants these nodes; unknown names are left out and returned.

        A node that is on its way or in use has been asked for already: the request is a replay and changes nothing.
        """
        unknown = []
        with self.fleet() as fleet:
            for name in names:
                try:
                    node = fleet.get(name)
                except NotFound:
                    unknown.append(name)
                else:
                    fleet.note(node, wanted=node.state not in _LAUNCHED | USABLE | {NodeState.INTENT})
        return tuple(unknown)

    def release(self, names: Iterable[str], reason: str) -> None:
        """SuspendProgram: Slurm is done with these nodes."""
        with self.fleet() as fleet:
            for name in names:
                try:
                    self._let_go(fleet, fleet.note(fleet.get(name), wanted=False), reason)
                except NotFound:
                    continue

    def step(self, node: ElasticNode, machine: Seen, slurm: SlurmStates) -> bool:
        """Do the one thing that is next for ``node``; whether it moved on, so that the next may be due at once.

        Another worker's move makes it a no-op.
        """
        verdict = decide(node, machine, slurm, self.now())
        try:
            self._perform(node, verdict, machine)
        except Conflict:
            return False
        return verdict.act in {Act.MOVE, Act.LAUNCH}

    def reap(self, machines: Collection[Machine], seen_before: Collection[str]) -> frozenset[str]:
        """End the orphans that were orphans last time too; return the ids of those seen now."""
        with self.fleet() as fleet:
            nodes = {node.name: node for node in fleet.all()}
        found = orphans(machines, nodes)
        for machine in found:
            if machine.id in seen_before:
                self.provider.destroy(machine.id)
        return frozenset(machine.id for machine in found)

    def _perform(self, node: ElasticNode, verdict: Verdict, machine: Seen) -> None:
        match verdict.act:
            case Act.NOTHING:
                return
            case Act.MOVE:
                self._move(node, verdict, machine)
            case Act.LAUNCH:
                self._launch(node)
            case Act.FAIL:
                self._fail(node, verdict.text)
            case Act.ELSEWHERE:
                assert isinstance(machine, Machine)  # noqa: S101 - it is what the verdict was about
                self._elsewhere(node, machine)
            case Act.DESTROY:
                self._destroy(node, machine, verdict.text)

    def _move(self, node: ElasticNode, verdict: Verdict, machine: Seen) -> None:
        assert verdict.state is not None  # noqa: S101 - a move has a state
        facts: dict[str, object] = {"reason": verdict.text}
        if verdict.state is NodeState.BOOTING and isinstance(machine, Machine):
            # Many clouds give them only now.
            facts |= {"address": machine.address or node.address, "public_addresses": machine.public_addresses}
        if verdict.state is NodeState.INTENT:
            facts |= {"generation": node.generation + 1, "wanted": False}
        if verdict.state is NodeState.OFF:
            facts |= {**dict.fromkeys(_OF_A_MACHINE), "public_addresses": (), "ssh_host_keys": ()}
            self.slurm.gone(node.name)
        with self.fleet() as fleet:
            fleet.move(node, verdict.state, self.now(), verdict.text, **facts)

    def _launch(self, node: ElasticNode) -> None:
        """Ask one supply after the other until one takes the order.

        An order whose outcome is not known is repeated where it was given: elsewhere it might make a second machine.
        """
        join = self.invite(node)
        refused = self._shut(node)
        supply = node.supply if node.state in _UNDECIDED else None
        while (supply := supply or self._next(node, refused)) is not None:
            try:
                node = self._asking(node, supply, join)
                machine = self.provider.create(order_of(self.cluster, node, join.user_data))
            except CloudError as error:
                if isinstance(error, Ambiguous) or error.retryable:
                    self._undecided(node, error)
                    return
                refused[supply] = error
                node = self._refused(node, refused)
                supply = None
            else:
                self._made(node, machine)
                return
        if any(isinstance(error, _NO_ROOM) for error in refused.values()):
            self._wait(node, _sentence(refused))
        else:
            self._fail(node, _sentence(refused))

    def _shut(self, node: ElasticNode) -> dict[str, CloudError]:
        """The supplies that are not to be asked now, each with the refusal that is why."""
        found = {each.name: self._refusal(each, node.job) for each in self.supplies.of_size(node.offer, node.job)}
        return {name: error for name, error in found.items() if error is not None}

    def _refusal(self, supply: Supply, job: int | None) -> CloudError | None:
        if (refusal := self.supplies.refusal(supply, job)) is not None:
            return refusal
        if self.blind(supply.cloud):
            return Unlisted("it does not tell which machines it has, so no more are ordered there")
        return self.breakers.refusal(supply, self.now())

    def _next(self, node: ElasticNode, refused: Collection[str]) -> str | None:
        offered = self.supplies.of_size(node.offer, node.job)
        return next((each.name for each in offered if each.name not in refused), None)

    def _wait(self, node: ElasticNode, reason: str) -> None:
        """Blocked until there is room; what the timeline has said already is not said again."""
        with self.fleet() as fleet:
            if (node.state, node.reason) == (NodeState.CAPACITY_BLOCKED, reason):
                fleet.note(node, since=self.now())
            else:
                fleet.move(node, NodeState.CAPACITY_BLOCKED, self.now(), reason, reason=reason, supply=None)

    def _asking(self, node: ElasticNode, supply: str, join: Join) -> ElasticNode:
        """Record the intent. Raises Capacity if other nodes use as much of the supply as we may."""
        if node.state is NodeState.REQUESTED:
            return node
        wanted = self.supplies.find(node.offer, supply)
        # The price may have changed since the supply was chosen; this is the last look at it before a new order.
        if node.state not in _UNDECIDED and (refusal := self.supplies.refusal(wanted, node.job)) is not None:
            raise refusal
        most = wanted.most
        with self.fleet() as fleet:
            others = (Supply(each.supply) for each in fleet.all() if each.supply and each.name != node.name)
            used = sum(each.kind == wanted.kind for each in others)
            if most is not None and used >= most and node.supply != supply:
                raise LimitReached(f"all {most} that may be used are in use")
            now = self.now()
            facts = {"join_token_hash": join.token_hash, "join_until": now + self.join_within, "supply": supply}
            return fleet.move(node, NodeState.REQUESTED, now, f"asking for {supply}", **facts)

    def _made(self, node: ElasticNode, machine: Machine) -> None:
        if node.supply is not None:
            self.breakers.close(Supply(node.supply))
        with self.fleet() as fleet:
            known = {"machine_id": machine.id, "public_addresses": machine.public_addresses}
            current = fleet.get(node.name)
            if current.state is NodeState.REQUESTED:
                fleet.move(
                    node,
                    NodeState.PENDING,
                    self.now(),
                    f"machine {machine.id} is being made",
                    address=machine.address,
                    **known,
                )
            elif current.generation == node.generation and current.machine_id is None:
                # It joined before the cloud's reply came back.
                fleet.note(current, address=machine.address or current.address, **known)

    def _undecided(self, node: ElasticNode, error: CloudError) -> None:
        with self.fleet() as fleet:
            fleet.move(node, NodeState.AMBIGUOUS, self.now(), error.detail, reason=error.detail)

    def _refused(self, node: ElasticNode, refused: Mapping[str, CloudError]) -> ElasticNode:
        """Record the last refusal; the node may ask elsewhere."""
        supply, error = list(refused.items())[-1]
        self.breakers.trip(Supply(supply), error, self.now())
        text = f"{supply}: {error.detail}"
        with self.fleet() as fleet:
            return fleet.move(
                node, NodeState.CAPACITY_BLOCKED, self.now(), text, reason=_sentence(refused), supply=None
            )

    def _elsewhere(self, node: ElasticNode, machine: Machine) -> None:
        if node.supply is not None:
            self.breakers.trip(Supply(node.supply), Capacity(machine.no_room), self.now())
        with self.fleet() as fleet:
            # Still wanted: once what there is of the machine is gone, another generation asks the other supplies.
            text = f"{node.supply}: {machine.no_room}"
            fleet.move(node, NodeState.TERMINATING, self.now(), text, reason=text, wanted=True)
        self.provider.destroy(machine.id)

    def _fail(self, node: ElasticNode, reason: str) -> None:
        # Slurm first: while it cannot be told, the node stays as it is and this is tried again.
        self.slurm.failed(node.name, reason)
        state = NodeState.TERMINATING if node.state in USABLE else NodeState.FAILED_BOOT
        text = "\n".join(filter(None, (reason, self._console(node))))
        with self.fleet() as fleet:
            fleet.move(node, state, self.now(), text, reason=reason)

    def _console(self, node: ElasticNode) -> str:
        try:
            return self.provider.console(node.machine_id)[-_CONSOLE_MOST:] if node.machine_id else ""
        except CloudError:
            return ""

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
        elif node.state in _LAUNCHED:
            fleet.move(node, NodeState.TERMINATING, self.now(), reason, reason=reason)


_CONSOLE_MOST = 2000
"""Characters of a failed machine's console that are kept."""

_UNDECIDED = frozenset({NodeState.REQUESTED, NodeState.AMBIGUOUS})
"""An order was given, and its outcome is not known."""

_NO_ROOM = (Capacity, Quota, Price)
"""Refusals that pass: machines end, quotas grow, prices change."""

_OF_A_MACHINE = ("supply", "machine_id", "address", "join_token_hash", "join_until", "public_key", "lease_until", "job")

_LAUNCHED = frozenset(
    {
        NodeState.REQUESTED,
        NodeState.AMBIGUOUS,
        NodeState.CAPACITY_BLOCKED,
        NodeState.PENDING,
        NodeState.BOOTING,
        NodeState.BOOTSTRAPPED,
    }
)


def order_of(cluster: str, node: ElasticNode, user_data: str) -> NodeOrder:
    """The create call's order for a node's present generation."""
    supply = Supply(node.supply or node.offer)
    return NodeOrder(
        cluster=cluster,
        node=node.name,
        generation=node.generation,
        size=node.supply or node.offer,
        user_data=user_data,
        zone=supply.zone,
        market=supply.market,
    )


def _sentence(refused: Mapping[str, CloudError]) -> str:
    """One line with what each supply said."""
    return "; ".join(f"{supply}: {error.detail}" for supply, error in refused.items())
