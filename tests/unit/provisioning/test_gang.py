"""A gang's order: what its machines share, and which try it is."""

from dataclasses import replace

import pytest

from gateway.provisioning.gang import GangOrder
from gateway.provisioning.node import NodeOrder

FIRST = NodeOrder("c1", "small-1", 1, "c5.large", "", supply="aws/c5.large@a", zone="a", job="7", owner="ada")
SECOND = replace(FIRST, node="small-2")


def test_the_same_orders_are_the_same_try() -> None:
    """Given the same orders twice, the token is one; another generation of one node makes another."""
    assert GangOrder((FIRST, SECOND), "x").token == GangOrder((FIRST, SECOND), "x").token
    assert GangOrder((FIRST, replace(SECOND, generation=2)), "x").token != GangOrder((FIRST, SECOND), "x").token


def test_tags_name_the_gang_and_no_single_node() -> None:
    """Given one call for all, its tags tell cluster, gang, job and owner, and not one node's name."""
    gang = GangOrder((FIRST, SECOND), "x")
    assert gang.tags["gw-gang"] == gang.tags["gw-intent"] == gang.token
    assert (gang.tags["gw-cluster"], gang.tags["gw-job"], gang.tags["gw-owner"]) == ("c1", "7", "ada")
    assert "gw-node" not in gang.tags


@pytest.mark.parametrize("orders", [(), (FIRST, replace(SECOND, zone="b")), (FIRST, replace(SECOND, job="8"))])
def test_what_is_not_alike_is_no_gang(orders: tuple[NodeOrder, ...]) -> None:
    """Given no orders, two places or two jobs, there is no gang."""
    with pytest.raises(ValueError, match="all are of one size"):
        GangOrder(orders, "x")
