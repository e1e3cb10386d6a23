"""MemoryFleet: the stored nodes in memory, for histories by the ten thousand; it keeps ``Fleet``'s contract.

Invariant: what a transaction changed is seen by others once it ends without an error, and never if it does not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from gateway.errors import Conflict, NotFound
from gateway.jobs.job import Event
from gateway.provisioning.fleet import Change, Effect, ElasticNode, Fleet, Tally
from gateway.provisioning.lifecycle import NodeState, may_move


@dataclass
class MemoryNodes:
    """All rows, and the transactions on them; one at a time."""

    rows: dict[str, ElasticNode] = field(default_factory=dict)
    events: dict[tuple[str, int], list[Event]] = field(default_factory=lambda: defaultdict(list))
    effects: dict[str, Effect] = field(default_factory=dict)
    _names: tuple[str, ...] = ()

    @contextmanager
    def begin(self) -> Iterator[Fleet]:
        """A transaction."""
        fleet = MemoryFleet(self)
        yield fleet
        self.rows.update(fleet.changed)
        if fleet.kept is not None:
            self.effects = fleet.kept
        for key, event in fleet.told:
            self.events[key].append(event)

    @property
    def strays(self) -> Collection[str]:
        """See ``Stored.strays``."""
        return self.effects

    def kinds(self) -> Counter[str]:
        """How often which state was entered, or which alarm told."""
        return Counter(event.kind for events in self.events.values() for event in events)

    def names(self, rows: Mapping[str, ElasticNode]) -> tuple[str, ...]:
        """The names in order; nodes are added and never taken away."""
        if len(self._names) != len(rows):
            self._names = tuple(sorted(rows))
        return self._names


class MemoryFleet:
    """Implements ``gateway.provisioning.fleet.Fleet`` in one transaction."""

    def __init__(self, nodes: MemoryNodes) -> None:
        self._nodes = nodes
        self.changed: dict[str, ElasticNode] = {}
        self.told: list[tuple[tuple[str, int], Event]] = []
        self.kept: dict[str, Effect] | None = None

    def add(self, name: str, offer: str, now: datetime) -> None:
        """See ``Fleet.add``."""
        if name not in self._nodes.rows and name not in self.changed:
            self.changed[name] = ElasticNode(name, 0, NodeState.OFF, offer, now)

    def get(self, name: str) -> ElasticNode:
        """See ``Fleet.get``."""
        if (node := self.changed.get(name) or self._nodes.rows.get(name)) is None:
            raise NotFound(f"There is no node {name}.", hint="`burst nodes` lists them")
        return node

    def of_gang(self, gang: str, number: int) -> ElasticNode:
        """See ``Fleet.of_gang``."""
        found = next((node for node in self.all() if (node.gang, node.gang_number) == (gang, number)), None)
        if found is None:
            raise NotFound(f"There is no node {number} of gang {gang}.")
        return found

    def all(self, states: Collection[NodeState] | None = None) -> tuple[ElasticNode, ...]:
        """See ``Fleet.all``."""
        rows = self._nodes.rows | self.changed if self.changed else self._nodes.rows
        return tuple(rows[name] for name in self._nodes.names(rows) if states is None or rows[name].state in states)

    def get_all(self, names: Collection[str]) -> Mapping[str, ElasticNode]:
        """See ``Fleet.get_all``."""
        found = ((name, self.changed.get(name) or self._nodes.rows.get(name)) for name in names)
        return {name: node for name, node in found if node is not None}

    def tally(self, states: Collection[NodeState]) -> Tally:
        """See ``Fleet.tally``."""
        return Counter((node.supply, node.account) for node in self.all(states))

    def move(self, node: ElasticNode, state: NodeState, now: datetime, text: str, **facts: Any) -> ElasticNode:
        """See ``Fleet.move``."""
        if not may_move(node.state, state):
            raise Conflict(f"Node {node.name} cannot go from {node.state} to {state}.")
        moved = replace(node, state=state, since=now, **facts)
        self._record(node, moved)
        self.tell(moved, now, state, text)
        return moved

    def move_all(self, changes: Sequence[Change], state: NodeState, now: datetime) -> tuple[ElasticNode, ...]:
        """See ``Fleet.move_all``."""
        return tuple(self.move(each.node, state, now, each.text, **each.facts) for each in changes)

    def note(self, node: ElasticNode, **facts: Any) -> ElasticNode:
        """See ``Fleet.note``."""
        noted = replace(node, **facts)
        self._record(node, noted)
        return noted

    def note_all(self, changes: Sequence[Change]) -> tuple[ElasticNode, ...]:
        """See ``Fleet.note_all``."""
        return tuple(self.note(each.node, **each.facts) for each in changes)

    def keep_effect(self, effect: Effect) -> None:
        """See ``Fleet.keep_effect``."""
        self.kept = {**self._effects, effect.machine_id: effect}

    def effects(self) -> tuple[Effect, ...]:
        """See ``Fleet.effects``."""
        return tuple(sorted(self._effects.values(), key=lambda effect: (effect.at, effect.machine_id)))

    def settle_effect(self, effect: Effect) -> None:
        """See ``Fleet.settle_effect``."""
        self.kept = {known: each for known, each in self._effects.items() if known != effect.machine_id}

    def tell(self, node: ElasticNode, now: datetime, kind: str, text: str) -> None:
        """See ``Fleet.tell``."""
        self.told.append(((node.name, node.generation), Event(now, kind, text)))

    def timeline(self, name: str) -> tuple[Event, ...]:
        """See ``Fleet.timeline``."""
        key = (name, self.get(name).generation)
        return (*self._nodes.events.get(key, ()), *(event for each, event in self.told if each == key))

    @property
    def _effects(self) -> dict[str, Effect]:
        return self._nodes.effects if self.kept is None else self.kept

    def _record(self, old: ElasticNode, new: ElasticNode) -> None:
        before = vars(old)
        differing = {name: value for name, value in vars(new).items() if value != before[name]}
        if not differing:
            return
        current = self.get(old.name)
        if current is old:
            self.changed[old.name] = new
            return
        if (current.state, current.generation, current.lock) != (old.state, old.generation, old.lock):
            raise Conflict(f"Node {old.name} was moved by somebody else.")
        self.changed[old.name] = replace(current, **differing)
