"""Azure's listing: what there is of a cluster in one resource group, and how it ends.

Invariant: a listing is read to its last page; what has no tags is known by its name, which carries the cluster's mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from libcloud.utils.connection import get_response_object

from gateway.errors import Capacity
from gateway.provisioning.cloud_faults import classify
from gateway.provisioning.dialect import machine_of, node_of
from gateway.provisioning.node import TAG_CLUSTER, Leftover, LeftoverKind, Machine, MachineState, Market

COMPUTE = "2024-07-01"
DISKS = "2023-10-02"
NETWORKS = "2023-09-01"
"""Versions of the API; libcloud's are older than what a machine is ordered with."""

_NO_CONTENT = 204

_LEFT = {
    "Microsoft.Compute/disks": (LeftoverKind.DISK, DISKS),
    "Microsoft.Network/networkInterfaces": (LeftoverKind.INTERFACE, NETWORKS),
    "Microsoft.Network/publicIPAddresses": (LeftoverKind.ADDRESS, NETWORKS),
}
"""In this order they are removed: an interface holds its address."""


@dataclass(frozen=True)
class Group:
    """One resource group; all paths begin with it."""

    subscription: str
    name: str

    def machines(self, driver: Any, cluster: str) -> Iterable[Machine]:
        """Every machine with the cluster's tag, in three lists whatever their number."""
        path = self._path("Microsoft.Compute/virtualMachines")
        found = [each for each in _pages(driver, path, COMPUTE) if _tags(each).get(TAG_CLUSTER) == cluster]
        if not found:
            return []
        # How they are is not in a group's list, and asking each would be a call for each.
        everywhere = f"/subscriptions/{self.subscription}/providers/Microsoft.Compute/virtualMachines"
        statuses = {_key(each): _statuses(each) for each in _pages(driver, everywhere, COMPUTE, statusOnly="true")}
        interfaces = {_key(each): each for each in _pages(driver, self._interfaces, NETWORKS)}
        return [machine(each, statuses.get(_key(each), ()), _addresses(each, interfaces)) for each in found]

    def end(self, driver: Any, machine_id: str) -> bool:
        """Asked for, not waited for: the listing says when it is gone; what was made with it goes with it."""
        _delete(driver, self.machine_path(machine_id), COMPUTE, forceDeletion="true")
        return True

    def console(self, driver: Any, machine_id: str) -> str:
        """What its serial port wrote: Azure answers with an address that is good for a while."""
        path = f"{self.machine_path(machine_id)}/retrieveBootDiagnosticsData"
        answer = driver.connection.request(path, params={"api-version": COMPUTE}, method="POST").object
        address = answer.get("serialConsoleLogBlobUri")
        read: Any = get_response_object  # without types
        return str(read(address).body) if address else ""

    def leftovers(self, driver: Any, cluster: str) -> Iterator[Leftover]:
        """Disks, interfaces and addresses that hang on nothing and are not being made for a machine."""
        machines = {each["name"] for each in _pages(driver, self._path("Microsoft.Compute/virtualMachines"), COMPUTE)}
        for kind, (what, version) in _LEFT.items():
            for each in _pages(driver, self._path(kind), version):
                node = _tags(each).get("gw-node") if _tags(each).get(TAG_CLUSTER) == cluster else None
                node = node_of(each["name"], cluster) if node is None else node
                if node is not None and _is_free(each) and each["name"].rpartition("-")[0] not in machines:
                    yield Leftover(f"{kind}/{each['name']}", what, node, _time(each))

    def clean(self, driver: Any, leftover: Leftover) -> None:
        """Delete it; its id is its path in the group."""
        kind, _, _ = leftover.id.rpartition("/")
        _delete(driver, self._path(leftover.id), _LEFT[kind][1])

    def machine_path(self, name: str) -> str:
        """Of the machine of this name."""
        return self._path(f"Microsoft.Compute/virtualMachines/{name}")

    @property
    def _interfaces(self) -> str:
        return self._path("Microsoft.Network/networkInterfaces")

    def _path(self, inside: str) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.name}/providers/{inside}"


def machine(item: Mapping[str, Any], statuses: Iterable[Mapping[str, Any]], addresses: Iterable[str]) -> Machine:
    """One virtual machine; ``statuses``: those of its instance view, once it has any."""
    properties = item["properties"]
    codes = {each["code"]: each.get("message", "") for each in statuses}
    power = next((code.partition("/")[2] for code in codes if code.startswith("PowerState/")), "")
    spot = properties.get("priority") == "Spot"
    return machine_of(
        _tags(item),
        id=item["name"],
        state=_state(properties.get("provisioningState", ""), power),
        address=next(iter(addresses), None),
        created_at=_time(item),
        zone=next(iter(item.get("zones", ())), ""),
        market=Market.SPOT if spot else Market.ON_DEMAND,
        # Nobody else deallocates them: a system that powers itself off is "stopped".
        preempted=f"Azure has taken it back ({power})" if spot and power.startswith("deallocat") else "",
        no_room=_no_room(codes),
    )


def _pages(driver: Any, path: str, version: str, **asked: str) -> Iterator[Mapping[str, Any]]:
    params = {"api-version": version, **asked}
    while True:
        answer = driver.connection.request(path, params=params).object
        yield from answer["value"]
        if not (link := answer.get("nextLink")):
            return
        url = urlsplit(link)
        path, params = url.path, {**params, **dict(parse_qsl(url.query))}


def _delete(driver: Any, path: str, version: str, **asked: str) -> None:
    try:
        driver.connection.request(path, params={"api-version": version, **asked}, method="DELETE")
    except Exception as error:
        # libcloud takes "no content", which is said of what is gone already, for a failure.
        if getattr(error, "code", None) != _NO_CONTENT:
            raise


def _tags(item: Mapping[str, Any]) -> Mapping[str, str]:
    return item.get("tags") or {}


def _key(item: Mapping[str, Any]) -> str:
    """Azure writes one id with capitals here and without them there."""
    return str(item["id"]).lower()


def _statuses(item: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    view = item["properties"].get("instanceView") or {}
    return tuple(view.get("statuses") or ())


def _addresses(item: Mapping[str, Any], interfaces: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for each in item["properties"].get("networkProfile", {}).get("networkInterfaces", ()):
        for one in interfaces.get(_key(each), {}).get("properties", {}).get("ipConfigurations", ()):
            if address := one["properties"].get("privateIPAddress"):
                yield address


def _is_free(item: Mapping[str, Any]) -> bool:
    properties = item["properties"]
    return not (item.get("managedBy") or properties.get("virtualMachine") or properties.get("ipConfiguration"))


def _time(item: Mapping[str, Any]) -> datetime | None:
    text = item["properties"].get("timeCreated")
    return datetime.fromisoformat(text) if text else None


def _state(provisioning: str, power: str) -> MachineState:
    if provisioning == "Deleting":
        return MachineState.TERMINATING
    if power in _POWER:
        return _POWER[power]
    return MachineState.ERROR if provisioning == "Failed" else MachineState.PENDING


_POWER = {
    "running": MachineState.RUNNING,
    "stopping": MachineState.STOPPED,
    "stopped": MachineState.STOPPED,
    "deallocating": MachineState.STOPPED,
    "deallocated": MachineState.STOPPED,
}


def _no_room(codes: Mapping[str, str]) -> str:
    """What Azure says of a machine that it took the order for and then could not place."""
    failed = {code: text for code, text in codes.items() if code.startswith("ProvisioningState/failed")}
    found = (f"{code.rpartition('/')[2]}: {text}" for code, text in failed.items())
    return next((text for text in found if isinstance(classify(Exception(text), changes=False), Capacity)), "")
