"""The node network's arithmetic: free ranges, steady addresses, hardware addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SetupError
from gateway.provisioning.network import NodeNetwork, free_subnet, hardware_address

NETWORK = NodeNetwork(bridge="burst0a1b2c", subnet=IPv4Network("10.80.4.0/22"))


@given(st.integers(min_value=0), st.lists(st.integers(0, 22), max_size=20))
def test_a_free_range_overlaps_nothing_in_use(start: int, blocks: list[int]) -> None:
    """It is a /22 between 10.77 and 10.99, wherever the search begins."""
    in_use = [IPv4Network(f"10.{77 + block}.0.0/16") for block in blocks]

    subnet = free_subnet(in_use, start=start)

    assert subnet.prefixlen == 22
    assert 77 <= subnet.network_address.packed[1] <= 99
    assert not any(subnet.overlaps(network) for network in in_use)


def test_a_wide_route_does_not_take_all_ranges() -> None:
    """A site's route to the whole of 10.0.0.0/8 gives way to the longer prefix of a local bridge."""
    assert free_subnet([IPv4Network("10.0.0.0/8")], start=0) == IPv4Network("10.77.0.0/22")


def test_no_free_range_is_said_with_a_way_out() -> None:
    """The user learns which range to free, or which form of nodes needs none."""
    with pytest.raises(SetupError) as caught:
        free_subnet([IPv4Network(f"10.{second}.0.0/16") for second in range(77, 100)], start=5)

    assert "process" in (caught.value.hint or "")


def test_a_name_gets_its_old_address_again() -> None:
    """As long as nobody else has it; and never one of the host's."""
    first = NETWORK.address("small-1", ())

    assert NETWORK.address("small-1", {NETWORK.address("small-2", ())}) == first
    assert NETWORK.address("small-1", {first}) != first
    assert first in NETWORK.subnet
    assert first > NETWORK.gateway


def test_a_full_network_is_an_error() -> None:
    """It has room for a thousand nodes."""
    taken: set[IPv4Address] = set()
    for number in range(1013):
        taken.add(NETWORK.address(f"n-{number}", taken))

    assert len(taken) == 1013
    with pytest.raises(SetupError, match="full"):
        NETWORK.address("one-more", taken)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_an_address_has_one_hardware_address(one: IPv4Address, other: IPv4Address) -> None:
    """Unicast, locally administered, and another one for another address."""
    first = int(hardware_address(one).split(":")[0], 16)

    assert first & 0b11 == 0b10
    assert (hardware_address(one) == hardware_address(other)) is (one == other)


def test_the_choice_is_kept(tmp_path: Path) -> None:
    """Nodes outlive the gateway: the next one must come back to their network."""
    chosen = NodeNetwork.of(tmp_path)

    assert NodeNetwork.of(tmp_path) == chosen
    assert len(chosen.bridge) <= 15
    (tmp_path / "other").mkdir()
    assert NodeNetwork.of(tmp_path / "other").bridge != chosen.bridge
