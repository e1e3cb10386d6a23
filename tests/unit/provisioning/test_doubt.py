"""A listing that lacks many machines at once: I11 of the invariants, for what a cloud answers wrongly."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.provisioning.doubt import BELIEVED_AFTER_S, FEWEST, SHARE, Doubt
from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Machine, MachineState
from gateway.provisioning.reconcile import decide
from gateway.provisioning.sources import Source
from gateway.provisioning.verdict import Act

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)


def node(number: int, cloud: str = "aws", state: NodeState = NodeState.BOOTING) -> ElasticNode:
    name = f"n-{number}"
    return ElasticNode(name, 1, state, "small", LONG_AGO, supply=f"{cloud}/t3", machine_id=f"{cloud}/i-{number}")


def machine(of: ElasticNode) -> Machine:
    return Machine(of.machine_id, of.name, 1, "t", MachineState.RUNNING, None)


def doubt(clock=lambda: 0.0) -> Doubt:
    return Doubt(clock=clock)


@given(total=st.integers(0, 60), seen=st.integers(0, 60))
def test_i11_a_listing_that_shrank_too_much_ends_nothing(total, seen):
    """However many there were and are told of: no node fails while more than a third are gone at once."""
    nodes = [node(number) for number in range(total)]
    listing = Listing({"aws": tuple(map(machine, nodes[:seen]))})

    believed = doubt().believed(listing, nodes)
    failed = [each for each in nodes if decide(each, believed.of(each), Source.UNREAD, NOW).act is Act.FAIL]

    lost = max(0, total - seen)
    shrank = lost >= FEWEST and lost > SHARE * total
    assert len(failed) == (0 if shrank else lost)


def test_a_cloud_that_goes_on_saying_so_is_believed():
    """After ten minutes; a whole listing in between begins anew, and the other clouds are believed all the time."""
    time = [0.0]
    nodes = [*map(node, range(10)), *(node(number, "gce") for number in range(20, 22))]
    gone = Listing({"aws": (), "gce": tuple(map(machine, nodes[10:]))})
    whole = Listing({"aws": tuple(map(machine, nodes[:10])), "gce": ()})
    found = doubt(lambda: time[0])

    assert set(found.believed(gone, nodes).clouds) == {"gce"}
    time[0] = BELIEVED_AFTER_S - 1
    assert set(found.believed(gone, nodes).clouds) == {"gce"}
    assert set(found.believed(whole, nodes).clouds) == {"aws", "gce"}
    time[0] += 2
    assert set(found.believed(gone, nodes).clouds) == {"gce"}
    time[0] += BELIEVED_AFTER_S
    assert set(found.believed(gone, nodes).clouds) == {"aws", "gce"}


@pytest.mark.parametrize("state", [NodeState.TERMINATING, NodeState.DRAINING, NodeState.REQUESTED, NodeState.OFF])
def test_what_we_end_ourselves_is_missed_by_nobody(state):
    """A hundred nodes that were told to end are gone at once, as they should be."""
    nodes = [node(number, state=state) for number in range(100)]
    assert set(doubt().believed(Listing({"aws": ()}), nodes).clouds) == {"aws"}


def test_this_computers_own_machines_are_seen_not_told():
    """After its restart all its containers are gone, and that is so."""
    nodes = [node(number, "local") for number in range(10)]
    assert set(doubt().believed(Listing({"local": ()}), nodes).clouds) == {"local"}
