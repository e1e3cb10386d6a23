"""Strays: machines that carry our tags and that no record wants.

Invariant: pure; a machine is no stray while it may be the one of an order under way, and of two machines of one node's
generation one is kept: that which the record names, else that of the smaller id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.node import Machine


class Stray(StrEnum):
    """Why nobody wants a machine."""

    ORPHAN = "orphan"
    """There is no such node."""
    ZOMBIE = "zombie"
    """Its node is OFF."""
    DUPLICATE = "duplicate"
    """Its node has another machine, another generation, or no order that was not refused."""


def orphans(machines: Collection[Machine], nodes: Mapping[str, ElasticNode]) -> tuple[Machine, ...]:
    """The strays of all kinds, in the order of the listing."""
    return tuple(machine for machine, _ in strays(machines, nodes))


def strays(machines: Collection[Machine], nodes: Mapping[str, ElasticNode]) -> tuple[tuple[Machine, Stray], ...]:
    """Each stray of a listing and why it is one."""
    gangs = by_gang(nodes.values())
    kept = _kept(machines, nodes, gangs)
    found = ((machine, _judge(machine, node_of(machine, nodes, gangs), kept)) for machine in machines)
    return tuple((machine, why) for machine, why in found if why is not None)


def by_gang(nodes: Iterable[ElasticNode]) -> Mapping[tuple[str, int], ElasticNode]:
    """Nodes by their gang's token and their number in it."""
    return {
        (node.gang, node.gang_number): node for node in nodes if node.gang is not None and node.gang_number is not None
    }


def node_of(
    machine: Machine, nodes: Mapping[str, ElasticNode], gangs: Mapping[tuple[str, int], ElasticNode]
) -> ElasticNode | None:
    """Whose machine it says it is: one that was made with others by one call has no name but a number."""
    if machine.node:
        return nodes.get(machine.node)
    return None if machine.number is None else gangs.get((machine.gang, machine.number))


def first(machines: Iterable[Machine]) -> Machine | None:
    """The one that is kept of several that say the same of themselves."""
    return min(machines, key=lambda machine: machine.id, default=None)


def _kept(
    machines: Collection[Machine],
    nodes: Mapping[str, ElasticNode],
    gangs: Mapping[tuple[str, int], ElasticNode],
) -> Mapping[str, str]:
    """Node → the machine that it keeps, of those of its generation."""
    candidates: dict[str, list[Machine]] = {}
    for machine in machines:
        node = node_of(machine, nodes, gangs)
        if node is not None and _may_be_its(machine, node):
            candidates.setdefault(node.name, []).append(machine)
    return {name: chosen.id for name, found in candidates.items() if (chosen := first(found)) is not None}


def _judge(machine: Machine, node: ElasticNode | None, kept: Mapping[str, str]) -> Stray | None:
    if node is None:
        return Stray.ORPHAN
    if node.state is NodeState.OFF:
        return Stray.ZOMBIE
    return None if kept.get(node.name) == machine.id else Stray.DUPLICATE


def _may_be_its(machine: Machine, node: ElasticNode) -> bool:
    # Every order of a node that is blocked was refused, and it may stay so for longer than a machine may cost.
    ordered = node.state is not NodeState.CAPACITY_BLOCKED
    return ordered and _of_its_generation(machine, node) and node.machine_id in {None, machine.id}


def _of_its_generation(machine: Machine, node: ElasticNode) -> bool:
    return not machine.node or machine.generation == node.generation
