"""SqlFleet: the stored elastic nodes in SQL.

Invariant: a move is an UPDATE that names the state, generation and lock it was decided on; no row means somebody else
moved, or took over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, select, update

from gateway.errors import Conflict, NotFound
from gateway.identity.audit import Act
from gateway.jobs.job import Event
from gateway.provisioning import figures
from gateway.provisioning.fleet import Change, Effect, ElasticNode, Tally
from gateway.provisioning.lifecycle import NodeState, may_move
from gateway.storage.audit import SqlAudit
from gateway.storage.effect_tables import unmatched_effects
from gateway.storage.tables import node_events, nodes

_FIELDS = tuple(field.name for field in fields(ElasticNode))

_SELECT = select(*(nodes.c[name] for name in _FIELDS))
_STATE = _FIELDS.index("state")
_LISTS = tuple(map(_FIELDS.index, ("public_addresses", "ssh_host_keys")))

_DECIDED_ON = ("name", "state", "generation", "lock")
"""What must be as it was read, or somebody else moved the node, or took over."""

_TOLD = {
    NodeState.REQUESTED: "launch-node",
    NodeState.PENDING: "make-machine",
    NodeState.BOOTSTRAPPED: "join-node",
    NodeState.PREEMPTING: "preempt-node",
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
        query = _SELECT.where(nodes.c.gang == gang, nodes.c.gang_number == number)
        if (row := self._connection.execute(query).first()) is None:
            raise NotFound(f"There is no node {number} of gang {gang}.")
        return _node(row)

    def get_all(self, names: Collection[str]) -> Mapping[str, ElasticNode]:
        """See ``Fleet.get_all``."""
        found = map(_node, self._connection.execute(_SELECT.where(nodes.c.name.in_(list(names)))))
        return {node.name: node for node in found}

    def all(self, states: Collection[NodeState] | None = None) -> tuple[ElasticNode, ...]:
        """See ``Fleet.all``."""
        query = _SELECT.order_by(nodes.c.name)
        if states is not None:
            query = query.where(nodes.c.state.in_(list(states)))
        return tuple(map(_node, self._connection.execute(query)))

    def tally(self, states: Collection[NodeState]) -> Tally:
        """See ``Fleet.tally``."""
        by = (nodes.c.supply, nodes.c.account)
        query = select(*by, func.count()).where(nodes.c.state.in_(list(states))).group_by(*by)
        return {(supply, account): count for supply, account, count in self._connection.execute(query)}

    def move(self, node: ElasticNode, state: NodeState, now: datetime, text: str, **facts: Any) -> ElasticNode:
        """See ``Fleet.move``."""
        if not may_move(node.state, state):
            raise Conflict(f"Node {node.name} cannot go from {node.state} to {state}.")
        moved = replace(node, state=state, since=now, **facts)
        self._record(node, moved)
        self.tell(moved, now, state, text)
        figures.left(node, (now - node.since).total_seconds())
        if state in _TOLD:
            SqlAudit(self._connection).tell(_act(moved, text), now)
        return moved

    def move_all(self, changes: Sequence[Change], state: NodeState, now: datetime) -> tuple[ElasticNode, ...]:
        """See ``Fleet.move_all``."""
        if never := next((each.node for each in changes if not may_move(each.node.state, state)), None):
            raise Conflict(f"Node {never.name} cannot go from {never.state} to {state}.")
        moved = self.note_all([Change(each.node, {**each.facts, "state": state, "since": now}) for each in changes])
        texts = [each.text for each in changes]
        for each in changes:
            figures.left(each.node, (now - each.node.since).total_seconds())
        pairs = list(zip(moved, texts, strict=True))
        if pairs:
            events = [_event(node, now, state, text) for node, text in pairs]
            self._connection.execute(node_events.insert(), events)
        if pairs and state in _TOLD:
            SqlAudit(self._connection).tell_all([_act(node, text) for node, text in pairs], now)
        return moved

    def note(self, node: ElasticNode, **facts: Any) -> ElasticNode:
        """See ``Fleet.note``."""
        noted = replace(node, **facts)
        self._record(node, noted)
        return noted

    def note_all(self, changes: Sequence[Change]) -> tuple[ElasticNode, ...]:
        """See ``Fleet.note_all``."""
        # Not dataclasses.replace, which takes ten times as long.
        noted = tuple(ElasticNode(**{**vars(each.node), **each.facts}) for each in changes)
        names = sorted({name for each in changes for name in each.facts})
        if not names:
            return noted
        as_decided = and_(*(nodes.c[name] == bindparam(f"was_{name}") for name in _DECIDED_ON))
        statement = update(nodes).where(as_decided).values({name: bindparam(f"new_{name}") for name in names})
        rows = [
            {f"was_{name}": getattr(each.node, name) for name in _DECIDED_ON}
            | {f"new_{name}": getattr(new, name) for name in names}
            for each, new in zip(changes, noted, strict=True)
        ]
        if self._connection.execute(statement, rows).rowcount != len(rows):
            raise Conflict("Some of these nodes were moved by somebody else.")
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
        self._connection.execute(node_events.insert(), _event(node, now, kind, text))

    def timeline(self, name: str) -> tuple[Event, ...]:
        """See ``Fleet.timeline``."""
        generation = self.get(name).generation
        query = select(node_events).where(node_events.c.node == name, node_events.c.generation == generation)
        rows = self._connection.execute(query.order_by(node_events.c.id)).mappings()
        return tuple(Event(row["at"], row["kind"], row["text"]) for row in rows)

    def _row(self, name: str) -> Row[Any] | None:
        return self._connection.execute(_SELECT.where(nodes.c.name == name)).first()

    def _record(self, old: ElasticNode, new: ElasticNode) -> None:
        changed = {name: getattr(new, name) for name in _FIELDS if getattr(new, name) != getattr(old, name)}
        if not changed:
            return
        mine = and_(*(nodes.c[name] == getattr(old, name) for name in _DECIDED_ON))
        if self._connection.execute(update(nodes).where(mine).values(**changed)).rowcount != 1:
            raise Conflict(f"Node {old.name} was moved by somebody else.")


def _event(node: ElasticNode, now: datetime, kind: str, text: str) -> dict[str, Any]:
    return {"node": node.name, "generation": node.generation, "at": now, "kind": kind, "text": text}


def _act(node: ElasticNode, text: str) -> Act:
    joined = node.state is NodeState.BOOTSTRAPPED
    offer = f"{node.offer}, generation {node.generation}"
    return Act(
        f"node:{node.name}" if joined else "gateway", _TOLD[node.state], f"node:{node.name}", f"{text} ({offer})"
    )


def _node(row: Row[Any]) -> ElasticNode:
    # By position: thousands are read at each look.
    values = list(row)
    values[_STATE] = NodeState(values[_STATE])
    for place in _LISTS:
        values[place] = tuple(values[place])
    return ElasticNode(*values)
