"""What every node provider must do with a gang: all of its machines or none, once, however often it is ordered."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from ec2_server import LOST_REPLY, Fault
from libcloud.common.exceptions import BaseHTTPError
from provider_sites import BOOTING, EVERY, INSTANCES, Site, cloud_site, nothing_left

from gateway.errors import Ambiguous, Capacity, CloudTransient, Throttled
from gateway.provisioning import libcloud_provider
from gateway.provisioning.cloud_router import CloudRouter
from gateway.provisioning.ec2_fleet import Ec2Fleet
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.gang_user_data import one_time_token
from gateway.provisioning.node import TAG_GANG, TAG_NODE, Machine, Market

__all__ = ["cloud_site", "nothing_left"]

THREE = ("small-1", "small-2", "small-3")
FIVE = (*THREE, "small-4", "small-5")

on_booting = pytest.mark.parametrize("site", BOOTING, indirect=True, scope="module")
on_ec2 = pytest.mark.parametrize("site", ["ec2"], indirect=True, scope="module")


@contextmanager
def meeting(site: Site, number: int, error: Exception | None) -> Iterator[None]:
    """Create call ``number``, from 0, of any thread meets ``error`` instead of its work; None: its reply is lost."""
    kind = next(each for each in type(site.provider()._driver).__mro__ if "create_node" in vars(each))
    order, calls, lock = kind.create_node, itertools.count(), threading.Lock()

    def create(self: Any, *words: Any, **how: Any) -> Any:
        with lock:
            mine = next(calls) == number
        if mine and error is not None:
            raise error
        made = order(self, *words, **how)
        if mine:
            raise requests.ConnectionError("the connection was closed before an answer came")
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "create_node", create)
        yield


def ids(machines: tuple[Machine, ...]) -> list[str]:
    return [machine.id for machine in machines]


def of_gang(site: Site, gang: GangOrder) -> list[str]:
    """The ids of a gang's machines in the listing, in its order, told by number or by node."""
    listed = site.provider().machines("ours")
    by_number = {machine.number: machine.id for machine in listed if machine.gang == gang.token}
    by_node = {machine.node: machine.id for machine in listed if machine.node}
    return [by_number.get(i) or by_node[order.node] for i, order in enumerate(gang.orders)]


@on_booting
def test_each_machine_of_a_gang_joins_with_its_own_number_and_token(site: Site) -> None:
    """Machine i is that of order i: it is said so in the reply and in the listing, and the machine knows it, too."""
    gang = site.gang(*THREE)

    made = site.provider().create_gang(gang)

    assert of_gang(site, gang) == ids(made)
    for number in range(3):
        said = site.gateway.hello_of(f"{gang.token} {number}")
        assert said["token"] == one_time_token("of the gang", number)


def test_the_same_gang_twice_makes_its_machines_once(site: Site) -> None:
    """A gateway that starts again and repeats its order gets the same machines in the same order."""
    gang = site.gang(*THREE)
    first = site.provider().create_gang(gang)

    again = site.provider().create_gang(gang)

    assert ids(again) == ids(first)
    site.listed(*ids(first))


@pytest.mark.parametrize("number", [0, 1])
def test_a_gang_whose_reply_is_lost_is_found_again(site: Site, number: int) -> None:
    """Its outcome is not known, and nothing is ended on a guess; the same order leads to what was made."""
    gang = site.gang(*THREE)
    if site.ec2 is not None:
        site.ec2.faults.append(LOST_REPLY)
    with meeting(site, number, None), pytest.raises(Ambiguous):
        site.provider().create_gang(gang)
    before = {machine.id for machine in site.provider().machines("ours")}

    made = site.provider().create_gang(gang)

    assert len(made) == len(set(ids(made))) == 3
    assert before <= set(ids(made))
    site.listed(*ids(made))


@pytest.mark.parametrize("number", [0, 2])
def test_a_throttled_gang_is_neither_refused_nor_ended(site: Site, number: int) -> None:
    """The cloud asks for fewer calls: what was made stays, and the same gang is ordered again."""
    gang = site.gang(*THREE)
    slow = BaseHTTPError(503, "RequestLimitExceeded: Request limit exceeded.")
    with meeting(site, number if site.ec2 is None else 0, slow), pytest.raises(Throttled):
        site.provider().create_gang(gang)
    before = {machine.id for machine in site.provider().machines("ours")}

    made = site.provider().create_gang(gang)

    assert before <= set(ids(made))
    assert of_gang(site, gang) == ids(made)


@on_booting
def test_a_gang_for_which_there_is_not_room_for_all_leaves_none(site: Site) -> None:
    """One of two would fit: it is ended again, so that it costs nothing and others find the room."""
    with pytest.raises(Capacity):
        site.provider().create_gang(site.gang("rare-1", "rare-2", size="rare"))

    site.listed()
    assert site.provider().create_gang(site.gang("rare-1", generation=2, size="rare"))


@on_booting
def test_a_refused_gang_whose_machines_cannot_be_ended_is_ambiguous(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost money, so no other supply is asked; the same order again ends them, and then says what was refused."""
    gang = site.gang(*THREE)
    full = BaseHTTPError(500, "InsufficientInstanceCapacity: none left")
    if site.ec2 is not None:
        monkeypatch.setattr(Ec2Fleet, "_take_back", _unable)
        monkeypatch.setattr("gateway.provisioning.clouds._machines_a_call", lambda _: 2)
    else:
        monkeypatch.setattr(libcloud_provider.LibcloudProvider, "destroy", _unable)
    with meeting(site, 1, full), pytest.raises(Ambiguous):
        site.provider().create_gang(gang)
    assert site.provider().machines("ours")
    monkeypatch.undo()

    with meeting(site, 0, full), pytest.raises(Capacity):
        site.provider().create_gang(gang)


def _unable(*_: object) -> None:
    raise Ambiguous("it does not answer")


@pytest.mark.parametrize("site", ["process", *EVERY[-1:]], indirect=True, scope="module")
def test_a_cloud_without_bulk_calls_tags_each_machine_with_its_node(site: Site) -> None:
    """Nothing in the listing tells that they were ordered together."""
    made = site.provider().create_gang(site.gang(*THREE))

    assert [(machine.node, machine.generation, machine.gang) for machine in made] == [(name, 1, "") for name in THREE]


@on_ec2
def test_ec2_makes_a_gang_with_one_call(site: Site) -> None:
    """It has token, tags, zone and market; what differs between its machines is their launch index."""
    gang = site.gang(*FIVE, zone="us-east-1b", market=Market.SPOT, job="7", owner="ada")

    made = site.provider().create_gang(gang)

    (call,) = [call for call in site.ec2.calls if call["Action"] == "RunInstances"][-1:]
    tags = {call[key]: call[key.replace(".Key", ".Value")] for key in call if key.endswith(".Key")}
    assert site.ec2.count("RunInstances") == 1 + _earlier(site)
    assert (call["MinCount"], call["MaxCount"]) == ("5", "5")
    assert call["Placement.AvailabilityZone"] == "us-east-1b"
    assert call["InstanceMarketOptions.MarketType"] == "spot"
    assert tags.items() >= gang.tags.items()
    assert (tags[TAG_GANG], TAG_NODE in tags) == (gang.token, False)
    assert [machine.number for machine in made] == [0, 1, 2, 3, 4]
    assert {(machine.gang, machine.token, machine.node) for machine in made} == {(gang.token, gang.token, "")}


@pytest.mark.parametrize("site", [INSTANCES], indirect=True, scope="module")
def test_instances_of_one_call_boot_with_one_user_data_and_know_their_numbers(site: Site, two_a_call: None) -> None:
    """Real cloud-init on each reads its launch index in its metadata, and puts it into what all have been given."""
    gang = site.gang(*THREE)

    made = site.provider().create_gang(gang)

    said = [site.gateway.hello_of(f"{gang.token} {number}") for number in range(3)]
    calls = [call for call in site.ec2.calls if call["Action"] == "RunInstances"]
    assert [call["MinCount"] for call in calls] == ["2", "1"]
    assert [each["token"] for each in said] == [one_time_token("of the gang", number) for number in range(3)]
    assert {each["first"] for each in said} == {"systemd"}
    site.listed(*ids(made))


@on_ec2
def test_a_gang_of_more_than_a_call_may_have_is_several_calls(site: Site, two_a_call: None) -> None:
    """Each begins to count anew; by tag and user-data the listing and the machines know where it began."""
    gang = site.gang(*FIVE)

    made = site.provider().create_gang(gang)

    calls = [call for call in site.ec2.calls if call["Action"] == "RunInstances"][-3:]
    assert [call["MinCount"] for call in calls] == ["2", "2", "1"]
    assert len({call["ClientToken"] for call in calls}) == 3
    assert of_gang(site, gang) == ids(made)
    for number in range(5):
        said = site.gateway.hello_of(f"{gang.token} {number}")
        assert said["token"] == one_time_token("of the gang", number)
    assert ids(site.provider().create_gang(gang)) == ids(made)


@on_ec2
def test_a_call_that_is_refused_ends_what_the_earlier_calls_made(site: Site, two_a_call: None) -> None:
    """None is left; when there is room again the same gang gets machines that live, not those that the tokens made."""
    gang, provider = site.gang(*FIVE), site.provider()
    full = BaseHTTPError(500, "InsufficientInstanceCapacity: none left")
    with meeting(site, 2, full), pytest.raises(Capacity):
        provider.create_gang(gang)
    site.listed()

    made = site.provider().create_gang(gang)

    assert [machine.number for machine in made] == [0, 1, 2, 3, 4]
    site.listed(*ids(made))
    # A gateway that starts again has forgotten how often it was in vain, and finds the same machines.
    assert ids(site.provider().create_gang(gang)) == ids(made) == ids(provider.create_gang(gang))


@on_ec2
def test_a_gang_is_listed_whole_or_not_at_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machines are on several pages; when one of these cannot be had, the rest is no listing."""
    monkeypatch.setattr(libcloud_provider, "EC2_PAGE", 2)
    gang = site.gang(*FIVE)
    made = site.provider().create_gang(gang)
    assert of_gang(site, gang) == ids(made)
    provider = site.provider()
    ask, calls = provider._driver.connection.request, itertools.count()

    def failing(*words: Any, **how: Any) -> Any:
        if next(calls) == 1:
            site.ec2.faults.append(Fault("DescribeInstances", 503, "Unavailable"))
        return ask(*words, **how)

    monkeypatch.setattr(provider._driver.connection, "request", failing)

    with pytest.raises(CloudTransient):
        provider.machines("ours")


@on_ec2
def test_a_gang_reaches_the_cloud_that_its_supply_names(site: Site) -> None:
    """Through the router it has the same token as at the cloud itself, and ids that lead back."""
    router = CloudRouter(site.cloud.provider(), {"far": site.provider()})
    gang = site.gang(*THREE, size="far/small@us-east-1a")

    made = router.create_gang(gang)

    assert {machine.gang for machine in made} == {gang.token}
    assert {machine.id for machine in made} == {f"far/{machine.id}" for machine in site.provider().machines("ours")}


@pytest.fixture
def two_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a call could have no more than two machines."""
    monkeypatch.setattr("gateway.provisioning.clouds._machines_a_call", lambda _: 2)


@pytest.fixture(autouse=True)
def counted(request: pytest.FixtureRequest) -> None:
    """Remember how many calls there were before this story."""
    site: Site = request.getfixturevalue("site")
    _EARLIER[id(site)] = site.ec2.count("RunInstances") if site.ec2 is not None else 0


_EARLIER: dict[int, int] = {}


def _earlier(site: Site) -> int:
    return _EARLIER[id(site)]
