"""EC2: what it does its own way behind libcloud's driver, and what its machines may leave behind.

Invariant: a listing is read by tag and to its last page; volumes and network interfaces are born with the tags of the
instance that they are made for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from libcloud.compute.base import Node

from gateway.provisioning.dialect import Dialect
from gateway.provisioning.node import TAG_CLUSTER, TAG_NODE, Leftover, LeftoverKind, Market, NodeOrder

_XML = "{http://ec2.amazonaws.com/doc/2016-11-15/}"
"""Namespace of the API version that libcloud's driver asks for; importing the driver for it costs every start-up."""

PAGE = 200
"""Things asked for at a time; a reply without a limit is refused or cut short in a large account."""

_TAGGED = ("volume", "network-interface")

_LEFT = {
    "Volume": (LeftoverKind.DISK, "volumeId"),
    "NetworkInterface": (LeftoverKind.INTERFACE, "networkInterfaceId"),
    "Address": (LeftoverKind.ADDRESS, "allocationId"),
    "KeyPair": (LeftoverKind.KEY, "keyName"),
}

_CLEANING = {
    LeftoverKind.DISK: ("DeleteVolume", "VolumeId"),
    LeftoverKind.INTERFACE: ("DeleteNetworkInterface", "NetworkInterfaceId"),
    LeftoverKind.ADDRESS: ("ReleaseAddress", "AllocationId"),
    LeftoverKind.KEY: ("DeleteKeyPair", "KeyName"),
}


def tagging(kind: Any) -> Any:
    """libcloud's driver class, whose RunInstances tags the volumes and interfaces, too; it does the instance only."""

    class Connection(kind.connectionCls):  # type: ignore[misc]
        """Repeats the instance's tags for what is made with it."""

        def add_default_params(self, params: dict[str, str]) -> dict[str, str]:
            if params.get("Action") == "RunInstances":
                first = {name: text for name, text in params.items() if name.startswith("TagSpecification.1.Tag.")}
                for number, resource in enumerate(_TAGGED, 2):
                    params[f"TagSpecification.{number}.ResourceType"] = resource
                    params |= {name.replace(".1.", f".{number}.", 1): text for name, text in first.items()}
            signed: dict[str, str] = super().add_default_params(params)
            return signed

    class Driver(kind):  # type: ignore[misc]
        connectionCls = Connection  # noqa: N815 - libcloud's name

    return Driver


def placing_in(subnets: Mapping[str, str]) -> Any:
    """What puts an order into its zone and market; a zone with a subnet of its own in ``subnets`` gets that."""

    def placing(driver: Any, order: NodeOrder) -> Mapping[str, Any]:
        arguments: dict[str, Any] = {"ex_spot": order.market is Market.SPOT}
        if order.zone:
            # What the driver reads of a location; its own comes from one more call.
            zone = SimpleNamespace(name=order.zone, region_name=driver.region_name)
            arguments["location"] = SimpleNamespace(availability_zone=zone)
        if order.zone in subnets:
            arguments["ex_subnet"] = SimpleNamespace(id=subnets[order.zone])
        return arguments

    return placing


def _nodes(driver: Any, cluster: str) -> list[Node]:
    """DescribeInstances by tag and in pages: the driver's own list_nodes asks for no page and reads no NextToken."""
    nodes: list[Node] = []
    for reservation in _described(driver, "DescribeInstances", "reservationSet", cluster):
        for item in reservation.findall(f"{_XML}instancesSet/{_XML}item"):
            node = driver._to_node(item)  # noqa: SLF001 - libcloud has no other reader
            # What ended it; the driver reads only the text that is for people.
            node.extra["state_reason"] = item.findtext(f"{_XML}stateReason/{_XML}code") or ""
            nodes.append(node)
    return nodes


def _described(driver: Any, action: str, things: str, cluster: str, *filters: tuple[str, str]) -> Iterator[Any]:
    """What carries the cluster's tag, page by page."""
    asked = {"Action": action}
    if action not in {"DescribeAddresses", "DescribeKeyPairs"}:  # these have no pages
        asked["MaxResults"] = str(PAGE)
    for number, (name, text) in enumerate([(f"tag:{TAG_CLUSTER}", cluster), *filters], 1):
        asked |= {f"Filter.{number}.Name": name, f"Filter.{number}.Value.1": text}
    page: str | None = ""
    while page is not None:
        answer = driver.connection.request(driver.path, params={**asked, **({"NextToken": page} if page else {})})
        yield from answer.object.findall(f"{_XML}{things}/{_XML}item")
        page = answer.object.findtext(f"{_XML}nextToken") or None


def _facts(node: Node) -> Mapping[str, Any]:
    reason = node.extra.get("state_reason", "")
    return {
        "zone": node.extra.get("availability") or "",
        "market": Market.SPOT if node.extra.get("instance_lifecycle") == "spot" else Market.ON_DEMAND,
        "preempted": reason if reason.startswith("Server.SpotInstance") else "",
    }


def _leftovers(driver: Any, cluster: str) -> Iterable[Leftover]:
    """Volumes and interfaces that hang on nothing, addresses that lead nowhere, keys that no instance has."""
    free = ("status", "available")
    yield from map(_left("Volume"), _described(driver, "DescribeVolumes", "volumeSet", cluster, free))
    interfaces = _described(driver, "DescribeNetworkInterfaces", "networkInterfaceSet", cluster, free)
    yield from map(_left("NetworkInterface"), interfaces)
    for address in _described(driver, "DescribeAddresses", "addressesSet", cluster):
        if not (address.findtext(f"{_XML}associationId") or address.findtext(f"{_XML}instanceId")):
            yield _left("Address")(address)
    if keys := list(_described(driver, "DescribeKeyPairs", "keySet", cluster)):
        used = {node.extra.get("key_name") for node in _nodes(driver, cluster)}
        yield from (_left("KeyPair")(key) for key in keys if key.findtext(f"{_XML}keyName") not in used)


def _left(kind: str) -> Any:
    what, name = _LEFT[kind]

    def read(item: Any) -> Leftover:
        tags = {each.findtext(f"{_XML}key"): each.findtext(f"{_XML}value") for each in _tags(item)}
        born = item.findtext(f"{_XML}createTime") or ""
        created_at = datetime.fromisoformat(born) if born else None
        return Leftover(item.findtext(f"{_XML}{name}"), what, tags.get(TAG_NODE, ""), created_at)

    return read


def _tags(item: Any) -> list[Any]:
    return [*item.findall(f"{_XML}tagSet/{_XML}item")]


def _clean(driver: Any, leftover: Leftover) -> None:
    action, name = _CLEANING[leftover.kind]
    driver.connection.request(driver.path, params={"Action": action, name: leftover.id})


EC2 = Dialect(
    "ex_userdata",
    "ex_metadata",
    "ex_clienttoken",
    "tags",
    _nodes,
    frozenset({"size", "image"}),
    placing=placing_in({}),
    facts=_facts,
    leftovers=_leftovers,
    clean=_clean,
)
