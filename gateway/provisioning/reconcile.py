"""What to do next with a node, from the three sources of truth: our record, the cloud's listing, Slurm.

    Slurm            record                      cloud           verdict
    any              OFF, wanted                 any             a new intent
    POWERING_UP      OFF                         any             a new intent: its request was lost
    any              OFF                         ours, twice     zombie: ended (``strays``)
    any              none, or another generation ours, twice     orphan, duplicate: ended (``strays``)
    any              INTENT to CAPACITY_BLOCKED  any             order it; blocked for too long: fail it
    DOWN+POWERED_DOWN, not asked for again  … to BOOTSTRAPPED    Slurm gave up: end it
    any              PENDING to BOOTSTRAPPED     none, stopped   fail it
    any              PENDING                     pending         overdue: elsewhere
    any              BOOTING, BOOTSTRAPPED       running         overdue: fail it
    up               IDLE, BUSY                  none            wait: Slurm hears from it, so the listing lacks it
    not up           IDLE, BUSY                  none            ghost: fail it
    any              IDLE, BUSY                  stopped         fail it
    any              IDLE, BUSY                  preempted       PREEMPTING: drain it, requeue its job, stage out, end
    not up           IDLE, BUSY                  running         hung: wait, then fail it; somebody's drain: leave it
    POWERED_DOWN     IDLE, BUSY                  any             its suspend was lost: let it go
    not known        IDLE, BUSY                  any             out of slurm.conf: wait, then let it go
    any              DRAINING, wanted            any             end it: another machine is to come
    up               DRAINING, STAGING_OUT       running         Slurm is to start no more jobs there
    working          DRAINING, STAGING_OUT       running         wait until the job's end, or the deadline
    any              QUARANTINED                 any             Slurm is told; ended after its hour, or if asked for
    any              TERMINATING                 any             end it again; stuck: alarm; gone: OFF
    any              TERMINATING, wanted again   any             for too long: Slurm is told, and asks for others
    unread           any                         any             nothing is ended that another answer would have saved

Invariant: pure and total. A source that could not be read is UNREAD: no node is failed and no machine ended unless
every answer of that source would have led to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.provisioning.drains import Drain
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import DEADLINE_S, HUNG_S, Limits, NodeState
from gateway.provisioning.node import Machine, MachineState
from gateway.provisioning.sources import ASKED_FOR, UNKNOWN, UP, Seen, SlurmStates, Source, gave_up, is_up
from gateway.provisioning.verdict import NOTHING, Act, Verdict
from gateway.slurm.states import NODE_STATES

_WORKING = frozenset({"ALLOCATED", "MIXED", "COMPLETING"})
ASKED = "Slurm asked for it"
_UNSEEN_GRACE_S = 30
"""A listing may lag behind a create call."""

BACK_OFF_S = {NodeState.AMBIGUOUS: 2, NodeState.CAPACITY_BLOCKED: 10}
"""Seconds before a create call is tried again."""


def decide(
    node: ElasticNode,
    machine: Seen,
    slurm: SlurmStates,
    now: datetime,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    drain: Drain = Drain.NONE,
) -> Verdict:
    """The one verdict on ``node``; ``machine`` is None when the cloud's full listing does not have it.

    ``drain``: whose doing it is if Slurm has the node down or drained. A word of Slurm's that we do not know may mean
    anything: its answer then counts as unread.
    """
    if isinstance(slurm, frozenset) and not slurm <= NODE_STATES:
        slurm = Source.UNREAD
    verdict = _RULES[node.state](_Look(node, machine, slurm, now, limits, drain))
    if slurm == UNKNOWN and verdict.act in {Act.FAIL, Act.OUT_OF_SERVICE}:
        # Of a node that it does not have Slurm cannot be told anything.
        return Verdict(Act.DESTROY, verdict.text)
    return verdict


def waited_out(node: ElasticNode, now: datetime, limits: Limits) -> str:
    """Why a node that no supply has room for is waited for no longer; "" while it is."""
    if node.state is not NodeState.CAPACITY_BLOCKED or node.wanted_at is None:
        return ""
    if (now - node.wanted_at).total_seconds() <= limits.capacity_wait_s:
        return ""
    return f"no room within {limits.capacity_wait_s:.0f} s: {node.reason}"


def due(node: ElasticNode, now: datetime) -> bool:
    """Whether a create call may be tried, or tried again."""
    return _age(node, now) >= BACK_OFF_S.get(node.state, 0)


@dataclass(frozen=True)
class _Look:
    """A node as all sources have it at one moment."""

    node: ElasticNode
    machine: Seen
    slurm: SlurmStates
    now: datetime
    limits: Limits
    drain: Drain

    @property
    def age_s(self) -> float:
        """How long the node has been in its state."""
        return _age(self.node, self.now)

    @property
    def up(self) -> bool:
        """Whether Slurm says that it can use the node."""
        return isinstance(self.slurm, frozenset) and is_up(self.slurm)

    @property
    def blind(self) -> bool:
        """Whether the cloud was not read."""
        return self.machine is Source.UNREAD

    def has(self, words: Collection[str]) -> bool:
        """Whether Slurm says one of these words."""
        return isinstance(self.slurm, frozenset) and bool(self.slurm & frozenset(words))

    @property
    def working(self) -> NodeState:
        """What a node in service is: BUSY or IDLE."""
        return NodeState.BUSY if self.has(_WORKING) else NodeState.IDLE


def _off(look: _Look) -> Verdict:
    if look.node.wanted:
        return _move(NodeState.INTENT, ASKED)
    if look.has({"POWERING_UP"}) and not look.has({"DOWN"}):
        return _move(NodeState.INTENT, "Slurm waits for it, though its request was lost")
    return NOTHING


def _ordering(look: _Look) -> Verdict:
    if gave_up(look.slurm):
        return _given_up(look)
    if text := waited_out(look.node, look.now, look.limits):
        return Verdict(Act.FAIL, text)
    return Verdict(Act.LAUNCH) if due(look.node, look.now) else NOTHING


def _starting(look: _Look) -> Verdict:
    if gave_up(look.slurm):
        return _given_up(look)
    if isinstance(look.machine, Machine) and look.machine.no_room:
        return Verdict(Act.ELSEWHERE, look.machine.no_room)
    if (gone := _gone(look)) is not None or look.blind:
        return gone or NOTHING
    runs = isinstance(look.machine, Machine) and look.machine.state is MachineState.RUNNING
    if look.node.state is NodeState.PENDING and runs:
        return _move(NodeState.BOOTING, "its machine runs")
    if look.node.state is NodeState.PENDING:
        return _overdue(look, "its machine does not run", Act.ELSEWHERE)
    return _overdue(look, "no word from it")


def _joining(look: _Look) -> Verdict:
    if gave_up(look.slurm):
        return _given_up(look)
    if (gone := _gone(look)) is not None:
        return gone
    if look.up:
        return _move(look.working, "slurmd registered")
    return NOTHING if look.blind or look.slurm is Source.UNREAD else _overdue(look, "slurmd did not register")


def _usable(look: _Look) -> Verdict:
    if (gone := _gone(look)) is not None:
        # Slurm hears of it: then the listing lacks it wrongly, and a running job is not to be lost to that. But of a
        # machine that stopped Slurm knows nothing for minutes (SlurmdTimeout).
        missed = look.machine is None and (look.slurm is Source.UNREAD or look.up)
        return NOTHING if missed else gone
    if isinstance(look.machine, Machine) and look.machine.preempted:
        return _move(NodeState.PREEMPTING, f"preempted: {look.machine.preempted}")
    if look.slurm is Source.UNREAD:
        return NOTHING
    return _heard(look) if look.up else _unheard(look)


def _heard(look: _Look) -> Verdict:
    if look.node.unheard_since is not None:
        return Verdict(Act.HEARD)
    if look.working is not look.node.state:
        return _move(look.working, "a job is on it" if look.working is NodeState.BUSY else "no job is on it")
    return NOTHING


def _unheard(look: _Look) -> Verdict:
    """Its machine runs, but Slurm cannot use it."""
    if look.has({"POWERED_DOWN"}) and not look.has(ASKED_FOR):
        return _move(NodeState.DRAINING, "Slurm has powered it down")
    since = look.node.unheard_since
    if since is None:
        return Verdict(Act.UNHEARD)
    if (look.now - since).total_seconds() <= HUNG_S:
        return NOTHING
    if look.slurm == UNKNOWN:
        return _move(NodeState.DRAINING, "Slurm no longer knows it")
    if look.drain is Drain.FOREIGN or look.blind:
        return NOTHING
    return Verdict(Act.FAIL, f"Slurm has not heard from it for {HUNG_S} s")


def _preempting(look: _Look) -> Verdict:
    return _gone(look) or Verdict(Act.REQUEUE, look.node.reason or "preempted")


def _leaving(look: _Look) -> Verdict:
    """Of a node that Slurm gave back no job is left; else the job's end, and that of its epilog, is waited for."""
    if look.node.state is NodeState.DRAINING and look.node.wanted:
        # Given back and asked for again: the job that is to come has the old slurmd's word, and waits for a new one.
        return Verdict(Act.DESTROY, look.node.reason)
    if look.age_s > DEADLINE_S[NodeState.STAGING_OUT]:
        return Verdict(Act.DESTROY, look.node.reason)
    if look.slurm is Source.UNREAD:
        return NOTHING
    runs = look.blind or (isinstance(look.machine, Machine) and look.machine.state is MachineState.RUNNING)
    if runs and look.up and not look.has({"DRAIN"}):
        # Slurm died after it gave the node back, and forgot that: it would start jobs on what is about to end.
        return Verdict(Act.DRAIN, look.node.reason or "it is to end")
    if runs and look.up and look.working is NodeState.BUSY:
        return NOTHING
    return Verdict(Act.DESTROY, look.node.reason)


def _quarantined(look: _Look) -> Verdict:
    if look.node.wanted or look.age_s > DEADLINE_S[NodeState.QUARANTINED] or _gone(look) is not None:
        return Verdict(Act.DESTROY, look.node.reason)
    if look.has(UP | ASKED_FOR) and not look.has({"DOWN"}):
        return Verdict(Act.OUT_OF_SERVICE, look.node.reason or "it has less than its size promised")
    return NOTHING


def _failed(look: _Look) -> Verdict:
    return Verdict(Act.DESTROY, look.node.reason)


def _ending(look: _Look) -> Verdict:
    if look.machine is None:
        return _move(NodeState.OFF, "its machine is gone")
    if look.node.state is NodeState.TERMINATING and look.age_s > DEADLINE_S[NodeState.TERMINATING]:
        return _move(NodeState.STUCK_TERMINATING, "its machine does not end; it still counts")
    if look.node.wanted and _kept_waiting_s(look) > look.limits.gang_wait_s:
        # A job would wait for it with whatever other nodes it already has.
        return Verdict(Act.OUT_OF_SERVICE, "the machine that it had does not end")
    return NOTHING if look.blind else Verdict(Act.DESTROY, look.node.reason)


_RULES: Mapping[NodeState, Callable[[_Look], Verdict]] = {
    NodeState.OFF: _off,
    **dict.fromkeys(
        (NodeState.INTENT, NodeState.CAPACITY_BLOCKED, NodeState.REQUESTED, NodeState.AMBIGUOUS), _ordering
    ),
    **dict.fromkeys((NodeState.PENDING, NodeState.BOOTING), _starting),
    NodeState.BOOTSTRAPPED: _joining,
    **dict.fromkeys((NodeState.IDLE, NodeState.BUSY), _usable),
    NodeState.PREEMPTING: _preempting,
    **dict.fromkeys((NodeState.DRAINING, NodeState.STAGING_OUT), _leaving),
    NodeState.QUARANTINED: _quarantined,
    NodeState.FAILED_BOOT: _failed,
    **dict.fromkeys((NodeState.TERMINATING, NodeState.STUCK_TERMINATING), _ending),
}


def _given_up(look: _Look) -> Verdict:
    text = "Slurm gave up waiting for it"
    return _move(NodeState.OFF, text) if look.node.state is NodeState.INTENT else Verdict(Act.DESTROY, text)


def _gone(look: _Look) -> Verdict | None:
    if isinstance(look.machine, Machine) and look.machine.state in {MachineState.ERROR, MachineState.STOPPED}:
        return Verdict(Act.FAIL, f"its machine is {look.machine.state}")
    if look.machine is None and look.age_s > _UNSEEN_GRACE_S:
        return Verdict(Act.FAIL, "its machine is gone")
    return None


def _kept_waiting_s(look: _Look) -> float:
    """How long whoever asked for a node has waited for its last machine's end."""
    asked = look.node.wanted_at or look.node.since
    if look.node.state is NodeState.TERMINATING:
        asked = max(asked, look.node.since)
    return (look.now - asked).total_seconds()


def _overdue(look: _Look, what: str, act: Act = Act.FAIL) -> Verdict:
    starts = look.node.state in {NodeState.PENDING, NodeState.BOOTING}
    boot_s = look.machine.boot_s if starts and isinstance(look.machine, Machine) else 0
    limit = max(DEADLINE_S[look.node.state], boot_s)
    return Verdict(act, f"{what} within {limit:g} s") if look.age_s > limit else NOTHING


def _move(state: NodeState, text: str) -> Verdict:
    return Verdict(Act.MOVE, text, state)


def _age(node: ElasticNode, now: datetime) -> float:
    return (now - node.since).total_seconds()
