"""Launcher: orders the machines of one node, or of a gang of nodes, from one supply after the other.

Invariant: intent before action. Generation, supply, token and lock of every node are stored, in one transaction that
also counts how many nodes there may be, before a cloud is called; so every call can be repeated, and what a worker
brings back too late is kept as an effect that fits no record.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from gateway.errors import (
    Ambiguous,
    BootstrapFailed,
    Capacity,
    CloudError,
    Conflict,
    LimitReached,
    Price,
    Quota,
    Unlisted,
)
from gateway.provisioning import figures
from gateway.provisioning.breakers import Breakers
from gateway.provisioning.fleet import Change, Effect, ElasticNode, Fleet, Tally
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.gangs import UNDECIDED, UNORDERED
from gateway.provisioning.lifecycle import AMBIGUOUS_ALARM_S, BEFORE_JOIN, USABLE, Limits, NodeState, may_move
from gateway.provisioning.node import Machine, NodeOrder, NodeProvider
from gateway.provisioning.sources import Seen, Source
from gateway.provisioning.supply import Supplies, Supply

log = structlog.get_logger(__name__)

FleetWork = Callable[[], AbstractContextManager[Fleet]]
"""Opens a transaction on the fleet."""

LOCK = timedelta(seconds=180)
"""So long a worker may take for a create call before another may take its nodes over; longer than any HTTP timeout."""

LISTED_WITHIN = timedelta(seconds=60)
"""So far a cloud's listing may lag behind what it made."""

LEASE = timedelta(minutes=15)
"""For which a new machine may run before its node has renewed anything."""


@dataclass(frozen=True)
class Join:
    """How a new machine becomes this node: the hash that is stored, the user-data that carries the token."""

    token_hash: str
    user_data: str


class GangInvitation(Protocol):
    """How the machines of a gang become its nodes: a hash for each node, one user-data for all."""

    @property
    def token_hashes(self) -> Sequence[str]:
        """In the order of the nodes."""

    @property
    def user_data(self) -> str:
        """From it each machine, which learns its number from its cloud, makes its own token."""


@dataclass(frozen=True)
class Owner:
    """Whose a job is."""

    person: str = ""
    account: str = ""


class Room(Protocol):
    """What may keep nodes from being ordered at a cloud at all."""

    def __call__(self, cloud: str, /) -> bool:
        """Whether it does."""


@dataclass(frozen=True)
class Launcher:
    """Safe to call from several threads, and from several processes on one database, for different nodes."""

    cluster: str
    fleet: FleetWork
    provider: NodeProvider
    invite: Callable[[ElasticNode], Join]
    now: Callable[[], datetime]
    supplies: Supplies
    breakers: Breakers
    blind: Room
    unread: Room
    """Whether it is not known yet what there is: an earlier process may have ordered there."""
    reaped: Room
    """Whether the orphans of a cloud are looked for; else nobody would end a machine that is forgotten there."""
    join_within: timedelta
    limits: Limits
    owner_of: Callable[[int], Owner]
    """Of Slurm's job of this id."""
    invite_gang: Callable[[tuple[ElasticNode, ...]], GangInvitation] | None = None
    holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Whose locks these are; a process that takes another's place has its holder."""

    def waits(self, nodes: tuple[ElasticNode, ...]) -> bool:
        """Whether a cloud that they may come from has still to say, since the start, what there is.

        Where an order was given whose outcome is not known, it is not repeated while nobody sees what it would make.
        """
        ordered = [Supply(node.supply).cloud for node in nodes if node.state in UNDECIDED and node.supply is not None]
        if ordered:
            return any(self.unread(cloud) or self.blind(cloud) or not self.reaped(cloud) for cloud in ordered)
        return any(map(self.unread, self.supplies.clouds(nodes[0].offer)))

    def launch(self, nodes: tuple[ElasticNode, ...], seen: Mapping[str, Seen]) -> str:
        """Ask one supply after the other until one takes the order for all of ``nodes``, or none.

        An order whose outcome is not known is repeated where it was given: elsewhere it might make a second machine.
        ``seen``: node → its machine as its cloud lists it.
        Returns why no supply ever will, else "". Raises Conflict if another worker has one of them.
        """
        refused: dict[str, CloudError] = {}
        supply = next((node.supply for node in nodes if node.state in UNDECIDED), None)
        undecided = supply is not None
        while (supply := supply or self._next(nodes[0], refused)) is not None:
            try:
                nodes = self._asking(nodes, supply)
                machines = self._create(nodes)
            except CloudError as error:
                figures.launched(supply, len(nodes), error)
                if isinstance(error, Ambiguous) or error.retryable:
                    self._undecided(nodes, error)
                    return ""
                if undecided and self._may_have_been_taken(nodes, seen, error):
                    return ""
                undecided = False
                refused[supply] = error
                if self._joined_in_vain(nodes, error):
                    return ""
                nodes = self._refused(nodes, refused)
                supply = None
            else:
                figures.launched(supply, len(nodes))
                self._made(nodes, machines)
                return ""
        if not any(isinstance(error, PASSING) for error in refused.values()):
            return sentence(refused)
        self._wait(nodes, sentence(refused))
        return ""

    def _refusal(self, supply: Supply, job: int | None) -> CloudError | None:
        if (refusal := self.supplies.refusal(supply, job)) is not None:
            return refusal
        if self.blind(supply.cloud):
            return Unlisted("it does not tell which machines it has, so no more are ordered there")
        if not self.reaped(supply.cloud):
            return Unlisted("its forgotten machines were not looked for in time, so no more are ordered there")
        return self.breakers.refusal(supply, self.now())

    def _next(self, node: ElasticNode, refused: dict[str, CloudError]) -> str | None:
        """The first supply that may be asked now; those before it go to ``refused``, each with why it may not.

        Now: the clouds before it may have taken long to refuse.
        """
        for each in self.supplies.of_size(node.offer, node.job):
            if each.name in refused:
                continue
            if (refusal := self._refusal(each, node.job)) is None:
                return each.name
            refused[each.name] = refusal
        return None

    def _asking(self, nodes: tuple[ElasticNode, ...], supply: str) -> tuple[ElasticNode, ...]:
        """Record the intent, and that we have them.

        Raises LimitReached if there would be more than may be; Price if what it costs is not known, or too much by now.
        """
        now = self.now()
        if any(_held(node, self.holder, now) for node in nodes):
            raise Conflict("Another worker has ordered for these nodes, and its time is not over.")
        lock = {"lock": f"{self.holder}:{uuid.uuid4().hex[:12]}", "lock_until": now + LOCK}
        if nodes[0].supply is None:
            self._require_price(nodes[0], supply)
            intents = [{**lock, **facts} for facts in self._intents(nodes, supply, now)]
            bounds = self._bounds(nodes, supply, str(intents[0]["account"]))
        else:
            intents, bounds = [{**lock, "join_until": now + self.join_within}] * len(nodes), ()
        changes = [Change(node, facts, f"asking for {supply}") for node, facts in zip(nodes, intents, strict=True)]
        with self.fleet() as fleet:
            if bounds:
                _require_room(fleet.tally(_ORDERED), nodes, bounds)
                return fleet.move_all(changes, NodeState.REQUESTED, now)
            return _asked_again(fleet, changes, now)

    def _require_price(self, node: ElasticNode, supply: str) -> None:
        """It may have changed since the supply was chosen; this is the last look at it before a new order."""
        if (refusal := self.supplies.refusal(self.supplies.find(node.offer, supply), node.job)) is not None:
            raise refusal

    def _intents(self, nodes: tuple[ElasticNode, ...], supply: str, now: datetime) -> list[dict[str, object]]:
        """What is stored of each with a new order."""
        job = nodes[0].job
        owner = self.owner_of(job) if job is not None else Owner()
        common = {"supply": supply, "ordered_at": now, "owner": owner.person, "account": owner.account}
        common |= {"join_until": now + self.join_within}
        nodes = self._numbered(tuple(replace(node, supply=supply) for node in nodes))
        hashes = self._token_hashes(nodes)
        return [
            {**common, "gang": node.gang, "gang_number": node.gang_number, "join_token_hash": known}
            for node, known in zip(nodes, hashes, strict=True)
        ]

    def _numbered(self, nodes: tuple[ElasticNode, ...]) -> tuple[ElasticNode, ...]:
        if len(nodes) == 1:
            return nodes
        token = GangOrder(tuple(order_of(self.cluster, node, "") for node in nodes), "").token
        return tuple(replace(node, gang=token, gang_number=number) for number, node in enumerate(nodes))

    def _token_hashes(self, nodes: tuple[ElasticNode, ...]) -> Sequence[str]:
        if len(nodes) > 1 and self.invite_gang is not None:
            return self.invite_gang(nodes).token_hashes
        return [self.invite(node).token_hash for node in nodes]

    def _bounds(self, nodes: tuple[ElasticNode, ...], supply: str, account: str) -> tuple[_Bound, ...]:
        most = self.limits.max_nodes_per_account if account else None
        kind = Supply(supply).kind
        return (
            _Bound(
                "", self.supplies.find(nodes[0].offer, supply).most, lambda used, _: Supply(used or "").kind == kind
            ),
            _Bound(" of the cluster", self.limits.max_nodes, lambda *_: True),
            _Bound(f" of account {account}", most, lambda _, payer: payer == account),
        )

    def _create(self, nodes: tuple[ElasticNode, ...]) -> tuple[Machine, ...]:
        if len(nodes) == 1:
            return (self.provider.create(order_of(self.cluster, nodes[0], self.invite(nodes[0]).user_data)),)
        together = self.invite_gang(nodes).user_data if self.invite_gang is not None else ""
        alone = ["" if together else self.invite(node).user_data for node in nodes]
        orders = (order_of(self.cluster, node, data) for node, data in zip(nodes, alone, strict=True))
        return self.provider.create_gang(GangOrder(tuple(orders), together))

    def _made(self, nodes: tuple[ElasticNode, ...], machines: tuple[Machine, ...]) -> None:
        if nodes[0].supply is not None:
            self.breakers.close(Supply(nodes[0].supply))
        try:
            with self.fleet() as fleet:
                changes = [_pending(node, machine) for node, machine in zip(nodes, machines, strict=True)]
                fleet.move_all(changes, NodeState.PENDING, self.now())
        except Conflict:
            # Some joined before the cloud's reply came back, or another worker took them over.
            self._made_late(nodes, machines)

    def _made_late(self, nodes: tuple[ElasticNode, ...], machines: tuple[Machine, ...]) -> None:
        with self.fleet() as fleet:
            known = fleet.get_all([node.name for node in nodes])
            for node, machine in zip(nodes, machines, strict=True):
                current = known[node.name]
                same = current.generation == node.generation and current.lock == node.lock
                change = _pending(current, machine)
                if same and current.state is NodeState.REQUESTED:
                    fleet.move_all([change], NodeState.PENDING, self.now())
                elif same and current.state in _JOINED and current.machine_id in {None, machine.id}:
                    address = machine.address or current.address
                    fleet.note(current, **{**change.facts, "address": address})
                else:
                    log.warning("a late reply fits no record", node=node.name, machine=machine.id)
                    fleet.keep_effect(Effect(machine.id, node.name, node.generation, machine.token, self.now()))

    def _may_have_been_taken(self, nodes: tuple[ElasticNode, ...], seen: Mapping[str, Seen], error: CloudError) -> bool:
        """A cloud may refuse to repeat an order that it took; only its listing tells that it did not."""
        machines = [seen.get(node.name, Source.UNREAD) for node in nodes]
        listed = tuple(machine for machine in machines if isinstance(machine, Machine))
        if len(listed) == len(nodes):
            self._made(nodes, listed)
            return True
        ordered = min(node.ordered_at or node.since for node in nodes)
        if all(machine is None for machine in machines) and self.now() - ordered >= LISTED_WITHIN:
            return False
        self._undecided(nodes, error)
        return True

    def _joined_in_vain(self, nodes: tuple[ElasticNode, ...], error: CloudError) -> bool:
        """Whether one of a gang joined before another was refused: all begin anew, once what was made is gone."""
        with self.fleet() as fleet:
            known = fleet.get_all([node.name for node in nodes])
            mine = [known[node.name] for node in nodes if known[node.name].generation == node.generation]
            if not any(node.state in _JOINED - UNDECIDED for node in mine):
                return False
            text = f"{mine[0].supply}: {error.detail}"
            for node in mine:
                if node.state in _JOINED - USABLE:
                    fleet.move(node, NodeState.TERMINATING, self.now(), text, reason=text, wanted=True, **_FREE)
        self.breakers.trip(Supply(nodes[0].supply or ""), error, self.now())
        return True

    def _undecided(self, nodes: tuple[ElasticNode, ...], error: CloudError) -> None:
        with self.fleet() as fleet:
            known = fleet.get_all([node.name for node in nodes])
            mine = [known[node.name] for node in nodes if known[node.name].lock == node.lock]
            asking = [node for node in mine if node.state is NodeState.REQUESTED]
            changes = [Change(node, {"reason": error.detail, **_FREE}, error.detail) for node in asking]
            fleet.move_all(changes, NodeState.AMBIGUOUS, self.now())
        self._alarm(nodes[0])

    def _alarm(self, node: ElasticNode) -> None:
        """Once, when it has not been known for too long; ``since`` is that of this try."""
        ordered = node.ordered_at or node.since
        before, after = ((at - ordered).total_seconds() for at in (node.since, self.now()))
        if before <= AMBIGUOUS_ALARM_S < after or (after > AMBIGUOUS_ALARM_S and before == 0):
            log.error("alarm", what="an order's outcome is not known", node=node.name, supply=node.supply)

    def _refused(self, nodes: tuple[ElasticNode, ...], refused: Mapping[str, CloudError]) -> tuple[ElasticNode, ...]:
        """Record the last refusal; the nodes may ask elsewhere."""
        supply, error = list(refused.items())[-1]
        self.breakers.trip(Supply(supply), error, self.now())
        text = f"{supply}: {error.detail}"
        changes = [Change(node, {**NOT_ORDERED, "reason": sentence(refused)}, text) for node in nodes]
        with self.fleet() as fleet:
            return fleet.move_all(changes, NodeState.CAPACITY_BLOCKED, self.now())

    def _wait(self, nodes: tuple[ElasticNode, ...], reason: str) -> None:
        """Blocked until there is room; what the timeline has said already is not said again."""
        told = (NodeState.CAPACITY_BLOCKED, reason)
        again = [Change(node, {"since": self.now()}) for node in nodes if (node.state, node.reason) == told]
        facts = {**NOT_ORDERED, "reason": reason}
        blocked = [Change(node, facts, reason) for node in nodes if (node.state, node.reason) != told]
        with self.fleet() as fleet:
            fleet.note_all(again)
            fleet.move_all(blocked, NodeState.CAPACITY_BLOCKED, self.now())


PASSING = (Capacity, Quota, Price, BootstrapFailed)
"""Refusals that pass: machines end, quotas grow, prices change, images are mended."""

NOT_ORDERED: Mapping[str, str | None] = {
    **dict.fromkeys(("supply", "gang", "gang_number", "ordered_at", "lock_until")),
    "lock": "",
}

_FREE: Mapping[str, str | None] = {"lock": "", "lock_until": None}

_JOINED = BEFORE_JOIN | USABLE | {NodeState.BOOTSTRAPPED}
_ASKED = UNDECIDED | _JOINED
_ORDERED = frozenset(NodeState) - UNORDERED - {NodeState.OFF}


def order_of(cluster: str, node: ElasticNode, user_data: str) -> NodeOrder:
    """The create call's order for a node's present generation; the same however often it is made."""
    supply = Supply(node.supply or node.offer)
    return NodeOrder(
        cluster=cluster,
        node=node.name,
        generation=node.generation,
        size=node.supply or node.offer,
        user_data=user_data,
        zone=supply.zone,
        market=supply.market,
        job="" if node.job is None else str(node.job),
        owner=node.owner,
        lease_until=None if node.ordered_at is None else node.ordered_at + LEASE,
    )


def sentence(refused: Mapping[str, CloudError]) -> str:
    """One line with what each supply said."""
    return "; ".join(f"{supply}: {error.detail}" for supply, error in refused.items())


def _pending(node: ElasticNode, machine: Machine) -> Change:
    facts = {"machine_id": machine.id, "public_addresses": machine.public_addresses, "address": machine.address}
    return Change(node, {**facts, **_FREE}, f"machine {machine.id} is being made")


def _asked_again(fleet: Fleet, changes: Sequence[Change], now: datetime) -> tuple[ElasticNode, ...]:
    """Of an order whose outcome is not known; what has joined meanwhile stays as it is."""
    known = fleet.get_all([each.node.name for each in changes])
    changes = [replace(each, node=_as_decided(known, each.node)) for each in changes]
    asked = [each for each in changes if each.node.state is NodeState.REQUESTED]
    moving = [each for each in changes if may_move(each.node.state, NodeState.REQUESTED)]
    done = {node.name: node for node in fleet.note_all(asked)}
    done |= {node.name: node for node in fleet.move_all(moving, NodeState.REQUESTED, now)}
    return tuple(done.get(each.node.name, each.node) for each in changes)


def _as_decided(known: Mapping[str, ElasticNode], node: ElasticNode) -> ElasticNode:
    """The stored one. Raises Conflict if somebody else moved it; that its machine joined is no harm."""
    stored = known[node.name]
    joined = node.state in _ASKED and stored.state in _JOINED - {NodeState.REQUESTED, NodeState.AMBIGUOUS}
    same = (stored.generation, stored.lock) == (node.generation, node.lock)
    if not same or not (joined or stored.state is node.state):
        raise Conflict(f"Node {node.name} was moved by somebody else.")
    return stored


@dataclass(frozen=True)
class _Bound:
    """How many ordered nodes there may be of those that it counts, by their supply and account."""

    whose: str
    most: int | None
    counts: Callable[[str | None, str], bool]


def _require_room(ordered: Tally, nodes: tuple[ElasticNode, ...], bounds: Sequence[_Bound]) -> None:
    """Raises LimitReached if ``nodes``, which are not ordered yet, would be too many beside those that are."""
    for bound in bounds:
        used = sum(count for (supply, account), count in ordered.items() if bound.counts(supply, account))
        free = None if bound.most is None else bound.most - used
        if free is not None and free < len(nodes):
            need = f": {max(free, 0)} left, and the job needs {len(nodes)}" if len(nodes) > 1 else ""
            raise LimitReached(f"all {bound.most} that may be used{bound.whose} are in use{need}")


def _held(node: ElasticNode, holder: str, now: datetime) -> bool:
    """Whether another's worker has it."""
    theirs = bool(node.lock) and not node.lock.startswith(f"{holder}:")
    return theirs and node.lock_until is not None and now < node.lock_until
