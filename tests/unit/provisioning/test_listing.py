"""What a listing says of a node: its machine, none, or nothing at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.provisioning.fleet import ElasticNode
from gateway.provisioning.lifecycle import NodeState
from gateway.provisioning.listing import Listing
from gateway.provisioning.node import Machine, MachineState
from gateway.provisioning.sources import Source

NODE = ElasticNode(
    "small-1", 2, NodeState.BOOTING, "small", datetime(2026, 1, 2, tzinfo=UTC), supply="aws/m5@a", machine_id="m-1"
)
MACHINE = Machine("m-1", "small-1", 2, "t", MachineState.RUNNING, None)


def test_i11_a_cloud_that_is_not_in_the_listing_says_nothing():
    """Whatever the other clouds say; one that is in it and has no such machine says that there is none."""
    assert Listing({}).of(NODE) is Source.UNREAD
    assert Listing({"local": ()}).of(NODE) is Source.UNREAD
    assert Listing({"aws": ()}).of(NODE) is None
    assert Listing({"aws": (MACHINE,)}).of(NODE) is MACHINE
    assert Listing({"aws": (replace(MACHINE, generation=1),)}).of(NODE) is None


def test_i11_an_answer_from_before_a_nodes_last_move_does_not_say_that_it_has_no_machine():
    """Asked a second before, it says nothing; asked since, it does; what it has, it has either way."""
    for later_s, seen in ((-1, Source.UNREAD), (0, None), (1, None)):
        asked = {"aws": NODE.since + timedelta(seconds=later_s)}
        assert Listing({"aws": ()}, asked).of(NODE) is seen
        assert Listing({"aws": (MACHINE,)}, asked).of(NODE) is MACHINE


def test_a_machine_that_was_made_with_others_is_found_by_its_number():
    """It has no name; the same number of another gang is somebody else's."""
    node = replace(NODE, gang="g" * 32, gang_number=1, machine_id=None)
    made = [replace(MACHINE, id=f"m-{n}", node="", generation=0, gang="g" * 32, number=n) for n in (0, 1)]
    strange = replace(made[1], id="m-9", gang="h" * 32)

    assert Listing({"aws": (made[0], strange, made[1])}).of(node) is made[1]
    assert Listing({"aws": (made[0], strange)}).of(node) is None


def test_of_two_that_say_the_same_it_is_the_one_that_the_record_names():
    """Else always the same of them."""
    other = replace(MACHINE, id="m-0")
    assert Listing({"aws": (other, MACHINE)}).of(NODE) is MACHINE
    for listed in ((other, MACHINE), (MACHINE, other)):
        assert Listing({"aws": listed}).of(replace(NODE, machine_id=None)) is other
