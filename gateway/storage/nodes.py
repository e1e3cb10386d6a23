"""SqlFleet: the stored elastic nodes in SQL.

Invariant: a move is an UPDATE that names the state, generation and lock it was decided on; no row means somebody else
moved, or took over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select, update

from gateway.errors import Conflict, NotFound
from gateway.identity.audit import Act
from gateway.jobs.job import Event
from gateway.provisioning.fleet import Effect, ElasticNode
from gateway.provisioning.lifecycle import NodeState, may_move
from gateway.storage.audit import SqlAudit
from gateway.storage.effect_tables import unmatched_effects
from gateway.storage.tables import node_events, nodes

_FIELDS = tuple(field.name for field in fields(ElasticNode))

_TOLD = {
    NodeState.REQUESTED: "launch-node",
    NodeState.PENDING: "make-machine",
    NodeState.BOOTSTRAPPED: "join-node",
    NodeState.TERMINATING: "end-node",
    NodeState.OFF: "node-ended",
    NodeState.FAILED_BOOT: "node-failed",
}
"""What of a node's life the audit log is told, here, so that no mover can forget it."""


class SqlFleet:
    """Implements ``gateway.provisioning.fleet.Fleet`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, name: str, offer: str, now: datetime) -> None:
        """See ``Fleet.add``."""
        if self._row(name) is None:
            row = {"name": name, "generation": 0, "state": NodeState.OFF, "offer": offer, "since": now}
            self._connection.execute(nodes.insert().values(**row, wanted=False, reason=""))

    def get(self, name: str) -> ElasticNode:
        """See ``Fleet.get``."""
        if (row := self._row(name)) is None:
            raise NotFound(f"There is no node {name}.", hint="`burst nodes` lists them")
        return _node(row)

    def of_gang(self, gang: str, number: int) -> ElasticNode:
        """See ``Fleet.of_gang``."""
        query = select(nodes).where(nodes.c.gang == gang, nodes.c.gang_number == number)
        if (row := self._connection.execute(query).mappings().first()) is None:
            raise NotFound(f"There is no node {number} of gang {gang}.")
        return _node(row)

    def all(self, states: Collection[NodeState] | None = None) -> tuple[ElasticNode, ...]:
        """See ``Fleet.all``."""
        query = select(nodes).order_by(nodes.c.name)
        if states is not None:
            query = query.where(nodes.c.state.in_(list(states)))
        return tuple(_node(row) for row in self._connection.execute(query).mappings())

    def move(self, node: ElasticNode, state: NodeState, now: datetime, text: str, **facts: Any) -> ElasticNode:
        """See ``Fleet.move``."""
        if not may_move(node.state, state):
            raise Conflict(f"Node {node.name} cannot go from {node.state} to {state}.")
        moved = replace(node, state=state, since=now, **facts)
        self._record(node, moved)
        self.tell(moved, now, state, text)
        if state in _TOLD:
            SqlAudit(self._connection).tell(_act(moved, text), now)
        return moved

    def note(self, node: ElasticNode, **facts: Any) -> ElasticNode:
        """See ``Fleet.note``."""
        noted = replace(node, **facts)
        self._record(node, noted)
        return noted

    def keep_effect(self, effect: Effect) -> None:
        """See ``Fleet.keep_effect``."""
        self.settle_effect(effect)
        self._connection.execute(unmatched_effects.insert().values(**vars(effect)))

    def effects(self) -> tuple[Effect, ...]:
        """See ``Fleet.effects``."""
        query = select(unmatched_effects).order_by(unmatched_effects.c.at, unmatched_effects.c.machine_id)
        return tuple(Effect(**row) for row in self._connection.execute(query).mappings())

    def settle_effect(self, effect: Effect) -> None:
        """See ``Fleet.settle_effect``."""
        gone = unmatched_effects.c.machine_id == effect.machine_id
        self._connection.execute(delete(unmatched_effects).where(gone))

    def tell(self, node: ElasticNode, now: datetime, kind: str, text: str) -> None:
        """See ``Fleet.tell``."""
        event = {"node": node.name, "generation": node.generation, "at": now, "kind": kind, "text": text}
        self._connection.execute(node_events.insert().values(**event))

    def timeline(self, name: str) -> tuple[Event, ...]:
        """See ``Fleet.timeline``."""
        generation = self.get(name).generation
        query = select(node_events).where(node_events.c.node == name, node_events.c.generation == generation)
        rows = self._connection.execute(query.order_by(node_events.c.id)).mappings()
        return tuple(Event(row["at"], row["kind"], row["text"]) for row in rows)

    def _row(self, name: str) -> RowMapping | None:
        return self._connection.execute(select(nodes).where(nodes.c.name == name)).mappings().first()

    def _record(self, old: ElasticNode, new: ElasticNode) -> None:
        changed = {name: getattr(new, name) for name in _FIELDS if getattr(new, name) != getattr(old, name)}
        if not changed:
            return
        mine = (nodes.c.name == old.name) & (nodes.c.state == old.state) & (nodes.c.generation == old.generation)
        mine &= nodes.c.lock == old.lock
        if self._connection.execute(update(nodes).where(mine).values(**changed)).rowcount != 1:
            raise Conflict(f"Node {old.name} was moved by somebody else.")


def _act(node: ElasticNode, text: str) -> Act:
    joined = node.state is NodeState.BOOTSTRAPPED
    offer = f"{node.offer}, generation {node.generation}"
    return Act(
        f"node:{node.name}" if joined else "gateway", _TOLD[node.state], f"node:{node.name}", f"{text} ({offer})"
    )


def _node(row: RowMapping) -> ElasticNode:
    values = {name: row[name] for name in _FIELDS}
    lists = {name: tuple(row[name]) for name in ("public_addresses", "ssh_host_keys")}
    return ElasticNode(**{**values, "state": NodeState(row["state"]), **lists})
