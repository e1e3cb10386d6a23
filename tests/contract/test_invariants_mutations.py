"""What the invariants are worth: each mutation of the production code makes at least one of them fail.

Nothing is edited: a mutation is patched in, and random histories are run until one breaks an invariant. The table is
docs/invariants.md.
"""

from __future__ import annotations

import gc
import itertools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import structlog

from gateway.engines import power
from gateway.errors import Ambiguous, Capacity, CloudAuth, Throttled
from gateway.provisioning import breakers, gangs, launcher, provision, reconcile, strays
from gateway.provisioning.doubt import Doubt
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.launcher import Launcher
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.listing import Lister
from gateway.provisioning.node import Machine, MachineState, NodeOrder
from gateway.provisioning.provision import Provisioner
from gateway.provisioning.reaper import Heartbeat
from gateway.provisioning.verdict import NOTHING, Act, Verdict
from gateway.runner import nodes as runner_nodes
from gateway.testing.run import any_history, run
from gateway.testing.world import Violation

MOST = 3000
"""Histories that a mutation may survive before the test fails."""


@dataclass(frozen=True)
class Mutation:
    """``apply`` patches it in; ``breaks``: invariants of which one must fail."""

    name: str
    apply: Callable[[pytest.MonkeyPatch], None]
    breaks: frozenset[int]


MUTATIONS: list[Mutation] = []

TELLING = {
    "a refusal to repeat an order is believed": "8a2661c2da454cbb39b246f8c1",
    "only machines that are known count against a limit": "020d03000100c00100c0",
    "each node of a gang is ordered for itself": "01020700020500010100",
    "an expired credential ends what cannot be seen": "00" + "01000f" + "000301" + "030410" + "000301",
    "a job on a machine that stopped is left there": "00" + "01000f" + "000301" + "050000" + "000301" * 2,
    "orders go to clouds that are out of sight": "00" + "030238" + "000301" + "010000",
    "a word of Slurm's that nobody knows is read as known": "00" + "01000f" + "000101" + "100000" + "000301" * 4,
    "a drain of anybody's is taken back": "00" + "01000f" + "000101" + "0e0001" + "000301" * 6,
    "jobs begin on nodes that are not in service": "00" + "080800" + "01000f" + "000301",
    "every listing is believed": "05" + "080500" * 6 + "0102c0" + "000101" + "030838" + "000301",
}
"""Histories that come first, of mutations that few histories hurt."""


def mutation(name: str, *breaks: int):
    """Add one to the list."""

    def add(apply):
        MUTATIONS.append(Mutation(name, apply, frozenset(breaks)))
        return apply

    return add


@mutation("a token that is another at each try", 2, 5, 13)
def _(patch):
    numbers = itertools.count()
    patch.setattr(NodeOrder, "token", property(lambda order: f"{order.node}-{next(numbers)}"))
    patch.setattr(GangOrder, "token", property(lambda gang: f"{gang.orders[0].node}-{next(numbers)}"))


@mutation("no tags in the create call", 1, 2, 5, 13)
def _(patch):
    patch.setattr(NodeOrder, "tags", property(lambda _: {}))


@mutation("a throttle is taken for a lack of room", 12)
def _(patch):
    patch.setattr(Throttled, "retryable", False)
    patch.setattr(launcher, "PASSING", (*launcher.PASSING, Throttled))
    patch.setitem(breakers.RULES, Throttled, breakers.RULES[Capacity])


@mutation("a throttle fails the node", 12)
def _(patch):
    patch.setattr(Throttled, "retryable", False)


@mutation("an orphan is ended at first sight", 11)
def _(patch):
    reap = Provisioner.reap
    patch.setattr(Provisioner, "reap", lambda self, found, _: reap(self, found, [machine.id for machine in found]))


@mutation("orphans are not ended", 1)
def _(patch):
    patch.setattr(Provisioner, "reap", lambda _self, _found, _before: frozenset())


@mutation("a stopped machine counts as ended", 1, 13, 14, 5)
def _(patch):
    machines_at = Lister._answer

    def answer(self, cloud, future):
        found = machines_at(self, cloud, future)
        return None if found is None else tuple(each for each in found if each.state is not MachineState.STOPPED)

    patch.setattr(Lister, "_answer", answer)


@mutation("the intent is not stored before the call", 1, 2, 5, 13)
def _(patch):
    def asking(self, nodes, supply):
        now = self.now()
        pairs = zip(nodes, self._intents(nodes, supply, now), strict=True)
        return tuple(replace(node, state=NodeState.REQUESTED, **facts) for node, facts in pairs)

    patch.setattr(Launcher, "_asking", asking)


@mutation("an unknown outcome counts as a refusal", 2)
def _(patch):
    create = Launcher._create

    def decided(self, nodes):
        try:
            return create(self, nodes)
        except Ambiguous as error:
            raise Capacity(error.detail) from error

    patch.setattr(Launcher, "_create", decided)
    patch.setattr(Launcher, "_may_have_been_taken", lambda *_: False)


@mutation("a refusal to repeat an order is believed", 2)
def _(patch):
    patch.setattr(Launcher, "_may_have_been_taken", lambda *_: False)


@mutation("only machines that are known count against a limit", 3)
def _(patch):
    patch.setattr(launcher, "_ORDERED", launcher._ORDERED - {NodeState.REQUESTED, NodeState.AMBIGUOUS})


@mutation("limits are not looked at", 3)
def _(patch):
    patch.setattr(launcher, "_require_room", lambda *_: None)


@mutation("each zone has a limit of its own", 3)
def _(patch):
    patch.setattr(launcher.Supply, "kind", property(lambda supply: supply.name))


@mutation("each node of a gang is ordered for itself", 6)
def _(patch):
    patch.setattr(runner_nodes, "gangs_of", lambda _nodes: ())


@mutation("every listing is believed", 11)
def _(patch):
    patch.setattr(Doubt, "believed", lambda _self, listing, _nodes: listing)


@mutation("machines are ended while Slurm hears of them", 11, 18, 24)
def _(patch):
    usable = reconcile._RULES[NodeState.BUSY]

    def rash(look):
        return Verdict(Act.FAIL, "its machine is gone") if look.machine is None else usable(look)

    patch.setattr(reconcile, "_RULES", {**reconcile._RULES, NodeState.BUSY: rash})


@mutation("an expired credential ends what cannot be seen", 18)
def _(patch):
    answer = Lister._answer
    usable = reconcile._RULES[NodeState.BUSY]

    def blinded(self, cloud, future):
        return () if isinstance(future.exception(), CloudAuth) else answer(self, cloud, future)

    def rash(look):
        return Verdict(Act.FAIL, "its machine is gone") if look.machine is None else usable(look)

    patch.setattr(Lister, "_answer", blinded)
    patch.setattr(reconcile, "_RULES", {**reconcile._RULES, NodeState.BUSY: rash})


@mutation("a job on a machine that stopped is left there", 14)
def _(patch):
    usable = reconcile._RULES[NodeState.BUSY]

    def patient(look):
        stopped = isinstance(look.machine, Machine) and look.machine.state is MachineState.STOPPED
        return NOTHING if stopped else usable(look)

    patch.setattr(reconcile, "_RULES", {**reconcile._RULES, NodeState.BUSY: patient, NodeState.IDLE: patient})


@mutation("orders go to clouds that are out of sight", 15)
def _(patch):
    patch.setattr(Lister, "blind", lambda _self, _cloud: False)
    patch.setattr(Heartbeat, "alive", lambda _self, _cloud: True)


@mutation("nodes are made before anybody asks", 5, 15)
def _(patch):
    patch.setattr(Provisioner, "want", _want_all(Provisioner.want))


def _want_all(want):
    def everything(self, names, jobs=()):
        with self.fleet() as fleet:
            known = [node.name for node in fleet.all()]
        return want(self, {*names, *known}, jobs)

    return everything


@mutation("a word of Slurm's that nobody knows is read as known", 19)
def _(patch):
    patch.setattr(reconcile, "NODE_STATES", _Everything())


class _Everything(frozenset):
    """A set that has every word."""

    def __ge__(self, _other):
        return True

    def __rsub__(self, _other):
        return frozenset()


@mutation("a drain of anybody's is taken back", 23)
def _(patch):
    patch.setattr(power.Power, "gone", lambda self, node: self.engine.update_nodes([node], "RESUME"))


@mutation("what Slurm was told of a failed node is not taken back", 5, 13)
def _(patch):
    patch.setattr(power.Power, "gone", lambda _self, _node: None)


@mutation("requests are removed before they are stored", 5, 13)
def _(patch):
    spooled = runner_nodes.spooled

    def hasty(folder):
        for request in spooled(folder):
            request.done()
            yield request

    patch.setattr(runner_nodes, "spooled", hasty)
    patch.setattr(runner_nodes.NodeRunner, "_forgotten", lambda *_: frozenset())


@mutation("jobs begin on nodes that are not in service", 11, 21)
def _(patch):
    patch.setattr(runner_nodes, "USABLE", frozenset(NodeState) - {NodeState.OFF})


@mutation("an order whose outcome is unknown is never repeated", 5, 13)
def _(patch):
    patch.setattr(reconcile, "due", lambda node, _now: node.state is not NodeState.AMBIGUOUS)
    patch.setattr(gangs, "due", lambda node, _now: node.state is not NodeState.AMBIGUOUS)


@mutation("a node is OFF when its machine was told to end", 1, 2, 3)
def _(patch):
    def hasty(look):
        return reconcile._move(NodeState.OFF, "its end was asked for")

    ending = dict.fromkeys((NodeState.TERMINATING, NodeState.STUCK_TERMINATING), hasty)
    patch.setattr(reconcile, "_RULES", {**reconcile._RULES, **ending})


@mutation("a machine with a wrong clock is taken for another's", 24)
def _(patch):
    usable = reconcile._RULES[NodeState.BUSY]

    def strict(look):
        made = look.machine.created_at if isinstance(look.machine, Machine) else None
        return Verdict(Act.FAIL, "made in the future") if made is not None and made > look.now else usable(look)

    patch.setattr(reconcile, "_RULES", {**reconcile._RULES, NodeState.BUSY: strict})


@mutation("a second machine of a node is kept", 1)
def _(patch):
    patch.setattr(strays, "_judge", lambda _machine, node, _kept: strays.Stray.ORPHAN if node is None else None)


@mutation("a machine that does not boot is waited for", 5, 13)
def _(patch):
    patch.setattr(reconcile, "_overdue", lambda *_: NOTHING)
    patch.setattr(reconcile, "gave_up", lambda _: False)
    patch.setattr(Provisioner, "release", lambda *_: None)


@mutation("one refused end stops the sweep", 1)
def _(patch):
    patch.setattr(provision.Provisioner, "_isolated", lambda _self, _act, _machine: None)


@mutation("a request that was lost is not noticed", 5, 13)
def _(patch):
    def content(look):
        return reconcile._move(NodeState.INTENT, reconcile.ASKED) if look.node.wanted else NOTHING

    patch.setattr(reconcile, "_RULES", {**reconcile._RULES, NodeState.OFF: content})
    patch.setattr(runner_nodes.NodeRunner, "_forgotten", lambda *_: frozenset())


@mutation("a cloud that had no room is never asked again", 5, 13)
def _(patch):
    patch.setitem(
        breakers.RULES, Capacity, replace(breakers.RULES[Capacity], first=breakers.FOR_EVER, most=breakers.FOR_EVER)
    )


@pytest.fixture(autouse=True)
def quiet():
    """The mutated code's log is of no interest."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.freeze()
    yield
    gc.unfreeze()
    structlog.configure(**before)


@pytest.mark.parametrize("mutant", MUTATIONS, ids=lambda mutant: mutant.name)
def test_a_mutation_breaks_an_invariant(mutant, monkeypatch):
    """One of those that it is meant to break."""
    mutant.apply(monkeypatch)
    source = random.Random(7)
    first = bytes.fromhex(TELLING.get(mutant.name, ""))
    histories = itertools.chain([first] if first else [], (any_history(source) for _ in range(MOST)))
    found = next(filter(None, map(violation, histories)), None)
    assert found is not None, f"survived {MOST} histories"
    assert found.number in mutant.breaks, found


def violation(history):
    """The invariant that a history breaks."""
    try:
        run(history)
    except Violation as broken:
        return broken
    return None
