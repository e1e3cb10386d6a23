"""GCE's listing: what there is of a cluster in one Google Cloud project, and how it ends.

Invariant: a listing that lacks a zone, or a page, is an error and no listing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from gateway.errors import CloudTransient
from gateway.provisioning.dialect import machine_of
from gateway.provisioning.labels import label, tags
from gateway.provisioning.node import TAG_CLUSTER, TAG_NODE, Leftover, LeftoverKind, Machine, MachineState, Market

PAGE = 500
"""Things asked for at a time: the most that the API gives."""

_LEFT = {"disks": LeftoverKind.DISK, "addresses": LeftoverKind.ADDRESS}

_STATES = {
    "RUNNING": MachineState.RUNNING,
    "REPAIRING": MachineState.RUNNING,
    "STOPPING": MachineState.STOPPED,
    "PENDING_STOP": MachineState.STOPPED,
    "STOPPED": MachineState.STOPPED,
    "SUSPENDING": MachineState.STOPPED,
    "SUSPENDED": MachineState.STOPPED,
    "TERMINATED": MachineState.STOPPED,
}

_STOPPING = frozenset(status for status, state in _STATES.items() if state is MachineState.STOPPED)


def found(driver: Any, cluster: str) -> Iterable[Machine]:
    """Every instance with the cluster's label; why one of spare capacity stops, the zones' operations tell."""
    items = list(_all(driver, "instances", cluster))
    stopping = any(_market(item) is Market.SPOT and item["status"] in _STOPPING for item in items)
    taken = _preempted(driver) if stopping else {}
    return [machine(item, taken) for item in items]


def machine(item: Mapping[str, Any], taken: Mapping[str, str]) -> Machine:
    """One instance; ``taken``: why those that were taken back were, by their id."""
    outside = [config.get("natIP") for each in item["networkInterfaces"] for config in each.get("accessConfigs", ())]
    place = _place(item["selfLink"])
    return machine_of(
        tags(item.get("labels", {})),
        id=place,
        state=_STATES.get(item["status"], MachineState.PENDING),
        address=next((each["networkIP"] for each in item["networkInterfaces"] if each.get("networkIP")), None),
        public_addresses=tuple(filter(None, outside)),
        created_at=_time(item),
        zone=place.partition("/")[0],
        market=_market(item),
        preempted=taken.get(place, ""),
    )


def end(driver: Any, machine_id: str) -> bool:
    """Asked for, not waited for: the listing says when it is gone. Its disk goes with it."""
    zone, _, name = machine_id.partition("/")
    driver.connection.request(f"/zones/{zone}/instances/{name}", method="DELETE")
    return True


def console(driver: Any, machine_id: str) -> str:
    """What its first serial port wrote."""
    zone, _, name = machine_id.partition("/")
    answer = driver.connection.request(f"/zones/{zone}/instances/{name}/serialPort").object
    return str(answer.get("contents", ""))


def leftovers(driver: Any, cluster: str) -> Iterator[Leftover]:
    """Disks that no instance uses, and reserved addresses that lead nowhere."""
    for kind, what in _LEFT.items():
        for item in _all(driver, kind, cluster):
            if not item.get("users") and item.get("status") in {"READY", "RESERVED"}:
                scope = str(item["scope"])
                node = tags(item.get("labels", {})).get(TAG_NODE, "")
                yield Leftover(f"{scope}/{kind}/{item['name']}", what, node, _time(item))


def clean(driver: Any, leftover: Leftover) -> None:
    """Delete it; its id is its path."""
    driver.connection.request(f"/{leftover.id}", method="DELETE")


def _all(driver: Any, kind: str, cluster: str) -> Iterator[Mapping[str, Any]]:
    """Things of all zones with the cluster's label, to the last page."""
    for scope, item in _pages(driver, kind, f"labels.{TAG_CLUSTER}={label(cluster)}"):
        yield {"scope": scope, **item}


def _pages(driver: Any, kind: str, condition: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    page = ""
    while True:
        asked = {"filter": condition, "maxResults": str(PAGE), "returnPartialSuccess": "false"}
        answer = driver.connection.request(
            f"/aggregated/{kind}", params=asked | ({"pageToken": page} if page else {})
        ).object
        if unread := list(answer.get("unreachables", ())) + list(_unreachable(answer)):
            raise CloudTransient(f"the listing lacks {', '.join(unread)}")
        for scope, inside in answer.get("items", {}).items():
            for item in inside.get(kind, ()):
                yield scope, item
        if not (page := answer.get("nextPageToken", "")):
            return


def _unreachable(answer: Mapping[str, Any]) -> Iterator[str]:
    for scope, inside in answer.get("items", {}).items():
        if inside.get("warning", {}).get("code") == "UNREACHABLE":
            yield scope


def _preempted(driver: Any) -> Mapping[str, str]:
    """Instance, as "ZONE/NAME" → what Google says of why it was taken back."""
    operations = _pages(driver, "operations", 'operationType="compute.instances.preempted"')
    return {_place(each["targetLink"]): each.get("statusMessage") or "preempted" for _, each in operations}


def _place(link: str) -> str:
    """As "ZONE/NAME", by which all calls about an instance find it."""
    parts = link.split("/")
    return f"{parts[-3]}/{parts[-1]}"


def _time(item: Mapping[str, Any]) -> datetime | None:
    text = item.get("creationTimestamp")
    return datetime.fromisoformat(text) if text else None


def _market(item: Mapping[str, Any]) -> Market:
    scheduling = item.get("scheduling", {})
    spot = scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible")
    return Market.SPOT if spot else Market.ON_DEMAND
