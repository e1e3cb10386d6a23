"""OpenStack: what Nova, Neutron and Cinder do their own way behind libcloud's driver.

Invariant: a machine is on-demand; Nova has no spot market that its API tells of, so an order for one is refused. What
Nova makes for a server has no tags of ours and goes with the server; what is looked for here is what somebody tagged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from libcloud.compute.base import Node
from libcloud.compute.types import NodeState

from gateway.provisioning.dialect import Dialect, anywhere
from gateway.provisioning.node import TAG_CLUSTER, TAG_NODE, Leftover, LeftoverKind, NodeOrder

_LEFT = {"ports": (LeftoverKind.INTERFACE, "device_id"), "floatingips": (LeftoverKind.ADDRESS, "port_id")}
"""Neutron's things, and what says that one is in use."""

_DISK = "volumes"

_CINDER = frozenset({"volumev3", "volumev2"})
"""What Cinder is called in a catalogue, as far as libcloud finds it."""


def _nodes(driver: Any, cluster: str) -> list[Node]:
    """All servers; why one of ours failed is in the answer about it alone, where the list leaves it out."""
    nodes: list[Node] = driver.list_nodes()
    return [_told(driver, node) if _failed(node, cluster) else node for node in nodes]


def _failed(node: Node, cluster: str) -> bool:
    ours = (node.extra.get("metadata") or {}).get(TAG_CLUSTER) == cluster
    return ours and node.state == NodeState.ERROR and not node.extra.get("fault")


def _told(driver: Any, node: Node) -> Node:
    return driver.ex_get_node_details(node.id) or node


def _placing(driver: Any, order: NodeOrder) -> Mapping[str, Any]:
    anywhere(driver, replace(order, zone=""))
    return {"ex_availability_zone": order.zone} if order.zone else {}


def _facts(node: Node) -> Mapping[str, Any]:
    return {"zone": node.extra.get("availability_zone") or ""}


def _leftovers(driver: Any, cluster: str) -> Iterator[Leftover]:
    """Ports, floating addresses and volumes with the cluster's tag that hang on nothing."""
    ours = f"{TAG_CLUSTER}={cluster}"
    for kind, (what, user) in _LEFT.items():
        for item in _pages(driver, f"/v2.0/{kind}", kind, driver.network_connection, {"tags": ours}):
            if not item.get(user):
                known = dict(tag.split("=", 1) for tag in item.get("tags", ()) if "=" in tag)
                yield Leftover(f"{kind}/{item['id']}", what, known.get(TAG_NODE, ""), _time(item))
    for item in _volumes(driver):
        known = item.get("metadata") or {}
        if known.get(TAG_CLUSTER) == cluster and item["status"] in {"available", "error"}:
            yield Leftover(f"{_DISK}/{item['id']}", LeftoverKind.DISK, known.get(TAG_NODE, ""), _time(item))


def _volumes(driver: Any) -> list[Mapping[str, Any]]:
    """Those of the project; where the catalogue has no Cinder libcloud would ask somebody else."""
    if not _CINDER & set(driver.connection.get_service_catalog().get_service_types()):
        return []
    connection = driver._get_volume_connection()  # noqa: SLF001 - version 3, or 2 where that is what there is
    return _pages(driver, "/volumes/detail", _DISK, connection, {})


def _pages(driver: Any, path: str, key: str, connection: Any, asked: dict[str, str]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = driver._paginated_request(path, key, connection, asked)  # noqa: SLF001
    return found


def _clean(driver: Any, leftover: Leftover) -> None:
    if leftover.kind is LeftoverKind.DISK:
        driver._get_volume_connection().request(f"/{leftover.id}", method="DELETE")  # noqa: SLF001
    else:
        driver.network_connection.request(f"/v2.0/{leftover.id}", method="DELETE")


def _time(item: Mapping[str, Any]) -> datetime | None:
    text = item.get("created_at")
    # Cinder's are without a zone, and UTC.
    born = datetime.fromisoformat(text) if text else None
    return born.replace(tzinfo=born.tzinfo or UTC) if born else None


OPENSTACK = Dialect(
    "ex_userdata",
    "ex_metadata",
    None,
    "metadata",
    _nodes,
    placing=_placing,
    facts=_facts,
    leftovers=_leftovers,
    clean=_clean,
)
