"""Gangs: the nodes that one job of several needs are ordered, waited for and given up together.

    its nodes                                            verdict
    not all of them are asked for, or free, yet          wait; for too long: fail those that are
    all without an order                                 launch, as one
    no room for too long                                 fail
    an order's outcome is not known                      the same order again
    one has no room, or does not run in time             all of them elsewhere; fail them if one is with Slurm already
    one is lost while others start                       fail those
    else                                                 each for itself

Invariant: pure. No machine is ordered for a part of a gang, and a part that runs alone does so for ``gang_wait_s`` at
most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import USABLE, Limits, NodeState
from gateway.provisioning.node import Machine
from gateway.provisioning.reconcile import due, waited_out
from gateway.provisioning.sources import Seen

UNORDERED = frozenset({NodeState.INTENT, NodeState.CAPACITY_BLOCKED})
UNDECIDED = frozenset({NodeState.REQUESTED, NodeState.AMBIGUOUS})
_SILENT = frozenset({NodeState.PENDING, NodeState.BOOTING})
"""Ordered, and Slurm has not heard of it yet: another machine may take its place unseen."""
_STARTING = _SILENT | {NodeState.BOOTSTRAPPED}
_LOST = frozenset({NodeState.FAILED_BOOT, NodeState.TERMINATING, NodeState.STUCK_TERMINATING})

Gang = tuple[ElasticNode, ...]


class Together(StrEnum):
    """What becomes of a gang."""

    ALONE = "alone"
    """Each node takes its own next step."""
    WAIT = "wait"
    LAUNCH = "launch"
    ELSEWHERE = "elsewhere"
    """End what there is, and ask another supply; Slurm need not know."""
    FAIL = "fail"
    """Tell Slurm, which puts the job back into its queue; end what there is."""


@dataclass(frozen=True)
class GangVerdict:
    """One for all; ``nodes`` are those that it is about."""

    act: Together
    nodes: Gang = ()
    text: str = ""
    scarce: bool = False
    """Whether its supply had not enough room: the next is to be asked first."""


_ALONE = GangVerdict(Together.ALONE)
_WAIT = GangVerdict(Together.WAIT)


def gangs_of(nodes: Iterable[ElasticNode]) -> tuple[Gang, ...]:
    """The nodes that are made together: with an order by its token, in its order; without one by their job."""
    found: dict[str | int, list[ElasticNode]] = {}
    for node in nodes:
        if node.wanted_with > 1 and node.gang is not None:
            found.setdefault(node.gang, []).append(node)
        elif node.wanted_with > 1 and node.job is not None and node.state in UNORDERED:
            found.setdefault(node.job, []).append(node)
    return tuple(tuple(sorted(gang, key=_place)) for gang in found.values())


def judge(gang: Gang, seen: Mapping[str, Seen], now: datetime, limits: Limits) -> GangVerdict:
    """The one verdict on a gang; ``seen`` has the machine of each of its nodes by name."""
    if gang[0].gang is None:
        return _gathering(gang, now, limits)
    if undecided := _in(gang, UNDECIDED):
        return _undecided(gang, undecided, now)
    return _ordered(gang, seen, now, limits)


def _gathering(gang: Gang, now: datetime, limits: Limits) -> GangVerdict:
    if text := next(filter(None, (waited_out(node, now, limits) for node in gang)), ""):
        return GangVerdict(Together.FAIL, gang, text)
    wanted = max(node.wanted_with for node in gang)
    if len(gang) >= wanted:
        return GangVerdict(Together.LAUNCH, gang) if all(due(node, now) for node in gang) else _WAIT
    if _seconds(min(node.since for node in gang), now) > limits.gang_wait_s:
        text = f"only {len(gang)} of the job's {wanted} nodes could be asked for within {limits.gang_wait_s:.0f} s"
        return GangVerdict(Together.FAIL, gang, text)
    return _WAIT


def _undecided(gang: Gang, undecided: Gang, now: datetime) -> GangVerdict:
    whole = len(gang) == max(node.wanted_with for node in gang)
    if not whole or _in(gang, _LOST):
        # To order the same again would make machines for nodes that are not wanted any more.
        return GangVerdict(Together.ELSEWHERE, undecided, "another node of its gang is wanted no more")
    return GangVerdict(Together.LAUNCH, gang) if all(due(node, now) for node in undecided) else _WAIT


def _ordered(gang: Gang, seen: Mapping[str, Seen], now: datetime, limits: Limits) -> GangVerdict:
    if text := _no_room(gang, seen):
        return _all_of(gang, text)
    if late := _late(gang, now, limits):
        running = len(_in(gang, _STARTING | USABLE)) - len(late)
        return _all_of(gang, f"only {running} of {len(gang)} machines ran within {limits.gang_wait_s:.0f} s")
    starting = _in(gang, _STARTING)
    lost = _in(gang, _LOST)
    if starting and lost:
        text = f"{lost[0].name} of its gang is lost: {lost[0].reason}"
        again = any(node.wanted for node in lost)
        return GangVerdict(Together.ELSEWHERE if again and _silent(starting) else Together.FAIL, starting, text)
    return _ALONE


def _no_room(gang: Gang, seen: Mapping[str, Seen]) -> str:
    machines = (seen.get(node.name) for node in _in(gang, _SILENT))
    return next((each.no_room for each in machines if isinstance(each, Machine) and each.no_room), "")


def _late(gang: Gang, now: datetime, limits: Limits) -> Gang:
    """Those whose machine does not run though its time is over."""
    waiting = _in(gang, {NodeState.PENDING})
    return tuple(node for node in waiting if _seconds(node.ordered_at or node.since, now) > limits.gang_wait_s)


def _all_of(gang: Gang, text: str) -> GangVerdict:
    starting = _in(gang, _STARTING)
    whole = _silent(starting) and not _in(gang, USABLE)
    # One in service stays: Slurm takes the job from it, and it may have given it to another, or begun this one anew.
    return GangVerdict(Together.ELSEWHERE if whole else Together.FAIL, starting, text, scarce=True)


def _silent(nodes: Sequence[ElasticNode]) -> bool:
    return all(node.state in _SILENT for node in nodes)


def _in(gang: Gang, states: Collection[NodeState]) -> Gang:
    return tuple(node for node in gang if node.state in states)


def _place(node: ElasticNode) -> tuple[int, str]:
    return (node.gang_number or 0, node.name)


def _seconds(since: datetime, now: datetime) -> float:
    return (now - since).total_seconds()
