"""Dialect: what one cloud does its own way behind a libcloud driver.

Invariant: a function of a dialect makes its calls with the driver it is given and lets the driver's exceptions out; who
called it says what they mean.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from libcloud.compute.base import Node
from libcloud.compute.types import NodeState

from gateway.errors import CloudInvalid
from gateway.provisioning.node import (
    TAG_GANG,
    TAG_GENERATION,
    TAG_NODE,
    TAG_TOKEN,
    Leftover,
    Machine,
    Market,
    NodeOrder,
)


def anywhere(_driver: Any, order: NodeOrder) -> Mapping[str, Any]:
    """For a cloud with neither zones nor a spot market: an order that asks for one is not filled with another."""
    if order.zone or order.market is Market.SPOT:
        asked = f"zone {order.zone}" if order.zone else "spot market"
        raise CloudInvalid(f"this cloud has no {asked}", hint="take it out of the size's offers")
    return {}


def _destroy(driver: Any, machine_id: str) -> bool:
    return bool(driver.destroy_node(Node(machine_id, "", NodeState.UNKNOWN, [], [], driver)))


def _console(driver: Any, machine_id: str) -> str:
    read = getattr(driver, "ex_get_console_output", None)
    answer = read(Node(machine_id, "", NodeState.UNKNOWN, [], [], driver)) if read else {}
    return answer.get("output") or ""


def _nothing(_driver: Any, _cluster: str) -> Iterable[Leftover]:
    return ()


def _nowhere(_driver: Any, _leftover: Leftover) -> None:
    """There is nothing to remove where nothing is left."""


@dataclass(frozen=True)
class Dialect:
    """The names that one libcloud driver has for what all of them mean, and what to do where it falls short."""

    user_data: str
    tags: str
    token: str | None
    """What it calls a client token; None if its cloud has no such thing, so that a machine is looked up first."""
    kept_tags: str
    """Where a listed node's ``extra`` has the tags."""
    all_nodes: Callable[[Any, str], list[Node]] = lambda driver, _: driver.list_nodes()
    """All nodes of a cluster, to the last page; those of others may be among them."""
    has_ids: frozenset[str] = frozenset()
    """Of "size" and "image", what the settings name by its id; the rest is looked up by id or name."""
    placing: Callable[[Any, NodeOrder], Mapping[str, Any]] = anywhere
    """Arguments of create_node for an order's zone and market; raises CloudInvalid where there is no such thing."""
    facts: Callable[[Node], Mapping[str, Any]] = lambda _: {}
    """Further fields of ``Machine`` that a listed node tells: zone, market, preempted, no_room."""
    order: Callable[[Any, NodeOrder], Machine] | None = None
    """In place of create_node, where that lacks what an order needs."""
    found: Callable[[Any, str], Iterable[Machine]] | None = None
    """In place of ``all_nodes``, where the driver's nodes lack what a machine tells."""
    end: Callable[[Any, str], bool] = _destroy
    console: Callable[[Any, str], str] = _console
    leftovers: Callable[[Any, str], Iterable[Leftover]] = _nothing
    clean: Callable[[Any, Leftover], None] = _nowhere


def machine_of(tags: Mapping[str, str], **facts: Any) -> Machine:
    """A machine whose node, generation and token its tags tell; ``facts``: its other fields."""
    generation = tags.get(TAG_GENERATION, "")
    known: dict[str, Any] = {
        "node": tags.get(TAG_NODE, ""),
        # A tag that somebody edited must not blind the gateway to a machine that costs money.
        "generation": int(generation) if generation.isdecimal() else -1,
        "token": tags.get(TAG_TOKEN, ""),
        "gang": tags.get(TAG_GANG, ""),
    }
    return Machine(**known, **facts)


def mark_of(cluster: str) -> str:
    """8 hex digits that the names of a cluster's things carry, where what a machine leaves behind has no tags."""
    return hashlib.sha256(cluster.encode()).hexdigest()[:8]


def name_of(order: NodeOrder) -> str:
    """The machine's name at its cloud: NODE-MARKTOKEN, at most 50 letters, digits and hyphens; one for one token."""
    node = re.sub(r"[^a-z0-9-]", "-", order.node.lower())[:30].strip("-") or "node"
    return f"{node if node[0].isalpha() else f'n{node}'}-{mark_of(order.cluster)}{order.token[:10]}"


def node_of(name: str, cluster: str) -> str | None:
    """The node in such a name, or in one that goes on after it; None if it is not of this cluster."""
    found = re.match(rf"(?P<node>[a-z][a-z0-9-]*)-{mark_of(cluster)}[0-9a-f]{{10}}(?![0-9a-z])", name)
    return found["node"] if found else None
