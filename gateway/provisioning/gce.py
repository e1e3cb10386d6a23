"""GCE: machines of one Google Cloud project, ordered and listed through libcloud's signed connection.

Invariant: an order has one name, so that the same order twice is one instance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from libcloud.compute.base import NodeDriver
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from gateway.errors import CloudInvalid, CloudTransient, SetupError
from gateway.provisioning.cloud_faults import is_gone
from gateway.provisioning.credentials import TIMEOUT_S, credential, needed, options, server, sizes_of
from gateway.provisioning.dialect import Dialect, name_of
from gateway.provisioning.gce_listing import clean, console, end, found, leftovers, machine
from gateway.provisioning.labels import labels
from gateway.provisioning.libcloud_provider import LibcloudProvider
from gateway.provisioning.node import Machine, Market, NodeOrder
from gateway.settings import CloudSettings, Settings

POLL_S = 1.0
"""Seconds between two looks at an operation."""

_KEYS = ("client_email", "private_key", "project_id")


@dataclass(frozen=True)
class Gce:
    """What a project's machines have in common; ``accelerators``: size → how many GPUs of kind ``accelerator``."""

    zone: str
    image: str
    network: str | None = None
    firewall_tags: tuple[str, ...] = ()
    public_address: bool = False
    disk_gb: int | None = None
    accelerator: str = ""
    accelerators: Mapping[str, int] | None = None

    @property
    def dialect(self) -> Dialect:
        """What is done in place of the driver's own.

        libcloud's create_node knows no Spot and looks up size, image, network and disk type with a
        call each; its list_nodes reads all disks and leaves out what it was told of zones that did not answer. What it
        has is the login, the connection, its errors and its operations.
        """
        return Dialect(
            user_data="user-data",
            tags="labels",
            token="name",  # noqa: S106 - the name is the token's
            kept_tags="labels",
            order=self.order,
            found=found,
            end=end,
            console=console,
            leftovers=leftovers,
            clean=clean,
        )

    def order(self, driver: Any, order: NodeOrder) -> Machine:
        """Insert the instance and wait for the operation, which is what says that there is no room.

        The name alone makes the same order one instance. A requestId would have an order that found no room answered
        with that for an hour, whatever room there is by then.
        """
        zone = order.zone or self.zone
        driver.connection.poll_interval = POLL_S
        try:
            driver.connection.async_request(f"/zones/{zone}/instances", data=self._body(order, zone), method="POST")
        except Exception as error:
            # The name is the token's: an instance that has it is the one that was ordered.
            if getattr(error, "code", None) not in {"alreadyExists", "RESOURCE_ALREADY_EXISTS"}:
                raise
        made = _made(driver, f"/zones/{zone}/instances/{name_of(order)}")
        if made.token != order.token:
            raise CloudInvalid(f"instance {made.id} has the name of {order.node}'s machine and is not it")
        return made

    def _body(self, order: NodeOrder, zone: str) -> dict[str, Any]:
        spot = order.market is Market.SPOT
        gpus = (self.accelerators or {}).get(order.size, 0) if self.accelerator else 0
        disk = {"sourceImage": self.image, "labels": labels(order.tags)}
        scheduling: dict[str, Any] = {
            # One that comes back by itself would be a node that nobody ordered.
            "automaticRestart": False,
            "provisioningModel": "SPOT" if spot else "STANDARD",
            **({"instanceTerminationAction": "DELETE"} if spot else {}),
            **({"onHostMaintenance": "TERMINATE"} if spot or gpus else {}),
        }
        return {
            "name": name_of(order),
            "machineType": f"zones/{zone}/machineTypes/{order.size}",
            "labels": labels(order.tags),
            "metadata": {"items": [{"key": "user-data", "value": order.user_data}]},
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "initializeParams": disk | ({"diskSizeGb": str(self.disk_gb)} if self.disk_gb else {}),
                }
            ],
            "networkInterfaces": [self._interface()],
            "tags": {"items": list(self.firewall_tags)},
            "scheduling": scheduling,
            **({"guestAccelerators": [_accelerators(zone, self.accelerator, gpus)]} if gpus else {}),
        }

    def _interface(self) -> dict[str, Any]:
        network = self.network or "global/networks/default"
        of = "subnetwork" if "/subnetworks/" in network else "network"
        outside = {"accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]}
        return {of: network, **(outside if self.public_address else {})}


def _made(driver: Any, path: str) -> Machine:
    try:
        return machine(driver.connection.request(path).object, {})
    except Exception as error:
        if is_gone(error):
            raise CloudTransient("an earlier try of the same order has just ended without it") from None
        raise


def open_gce(cloud: CloudSettings, settings: Settings) -> LibcloudProvider:
    """Google Compute Engine with a service account's key. ``options``: see docs/clouds.md."""
    project = credential(cloud, settings, _KEYS)["project_id"]
    chosen = options(cloud, "zone", "public_address", "disk_gb", "accelerator")
    if not (zone := str(chosen.get("zone", ""))):
        raise SetupError(f"cloud {cloud.name}: kind gce needs options.zone", hint='as in options = { zone = "…" }')
    shape = Gce(
        zone=zone,
        image=_image(needed(cloud, "image"), project),
        network=cloud.network,
        firewall_tags=cloud.security_groups,
        public_address=bool(chosen.get("public_address", False)),
        disk_gb=chosen.get("disk_gb"),
        accelerator=str(chosen.get("accelerator", "")),
        accelerators={size.name: size.gpus for size in cloud.sizes},
    )
    kind = _at(get_driver(Provider.GCE), server(cloud.endpoint))

    def driver() -> NodeDriver:
        secret = credential(cloud, settings, _KEYS)
        opened: NodeDriver = kind(
            secret["client_email"],
            secret["private_key"],
            project=secret["project_id"],
            auth_type="SA",
            # Left to itself, libcloud keeps the access token in a file of the home directory.
            credential_file=os.devnull,
            timeout=TIMEOUT_S,
        )
        return opened

    return LibcloudProvider(cloud.name, driver, sizes=sizes_of(cloud), dialect=shape.dialect, image=shape.image)


def _at(kind: Any, place: Mapping[str, Any]) -> Any:
    """libcloud's driver class for another server: given a host, it would take that for the kind of its login."""
    if not place:
        return kind

    class Connection(kind.connectionCls):  # type: ignore[misc]
        def __init__(self, user: str, key: str, secure: bool, **rest: Any) -> None:  # noqa: ARG002 - place says it
            super().__init__(user, key, **{**rest, **place})

    class Driver(kind):  # type: ignore[misc]
        connectionCls = Connection  # noqa: N815 - libcloud's name

    return Driver


def _image(name: str, project: str) -> str:
    """A path as the API wants it: of a path, as it is; of a name, that image of the project."""
    return name if "/" in name else f"projects/{project}/global/images/{name}"


def _accelerators(zone: str, kind: str, count: int) -> dict[str, Any]:
    return {"acceleratorType": f"zones/{zone}/acceleratorTypes/{kind}", "acceleratorCount": count}
