"""Azure: machines of one resource group, ordered through libcloud's signed connection.

Invariant: an order has one name, and a machine of that name is only ever made, never changed; its interface, disk and
public address are made with it by the same call and go with it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from libcloud.compute.base import NodeDriver
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider
from libcloud.http import LibcloudConnection

from gateway.errors import CloudInvalid, CloudTransient, SetupError
from gateway.provisioning.azure_listing import COMPUTE, Group, machine
from gateway.provisioning.credentials import TIMEOUT_S, credential, needed, options, server, sizes_of
from gateway.provisioning.dialect import Dialect, name_of
from gateway.provisioning.libcloud_provider import LibcloudProvider
from gateway.provisioning.node import Machine, MachineState, Market, NodeOrder
from gateway.settings import CloudSettings, Settings

NETWORK = "2020-11-01"
"""Version of the network's API in which a machine's interface is made with the machine."""

_KEYS = ("tenant", "subscription", "client_id", "client_secret")
_OPTIONS = ("resource_group", "environment", "public_address", "disk_gb", "disk_type", "ssh_key")
_TAKEN = 412
"""HTTP's "precondition failed": there is something of that name."""


@dataclass(frozen=True)
class Azure:
    """What a group's machines have in common. ``subnet``, ``security_group``: whole resource ids."""

    group: Group
    location: str
    image: Mapping[str, str]
    subnet: str
    ssh_key: str
    security_group: str = ""
    public_address: bool = False
    disk_gb: int | None = None
    disk_type: str = "StandardSSD_LRS"

    @property
    def dialect(self) -> Dialect:
        """What is done in place of the driver's own.

        libcloud's create_node makes the interface by a call of its own, which is left over if the machine cannot be
        had; it knows no zone, no Spot and no "delete with the machine", and cannot encode user-data. Its list_nodes
        asks twice more for each machine, and its destroy_node sleeps ten seconds at a time. What it has is the login,
        the connection and its errors.
        """
        group = self.group
        return Dialect(
            user_data="customData",
            tags="tags",
            token="name",  # noqa: S106 - the name is the token's
            kept_tags="tags",
            order=self.order,
            found=group.machines,
            end=group.end,
            console=group.console,
            leftovers=group.leftovers,
            clean=group.clean,
        )

    def order(self, driver: Any, order: NodeOrder) -> Machine:
        """Make the machine unless there is one of its name; that there is no room, the listing may say later."""
        path = self.group.machine_path(name_of(order))
        try:
            answer = driver.connection.request(
                path,
                params={"api-version": COMPUTE},
                data=self._body(order),
                headers={"If-None-Match": "*"},
                method="PUT",
            )
        except Exception as error:
            if getattr(error, "code", None) != _TAKEN:
                raise
            answer = driver.connection.request(path, params={"api-version": COMPUTE})
        made = machine(answer.object, (), ())
        if made.token != order.token:
            raise CloudInvalid(f"virtual machine {made.id} has the name of {order.node}'s machine and is not it")
        if made.state is MachineState.TERMINATING:
            raise CloudTransient(f"virtual machine {made.id} of the same order is still ending")
        return made

    def _body(self, order: NodeOrder) -> dict[str, Any]:
        name = name_of(order)
        # "Deallocate": a machine that was taken back stays listed as that until it is ended; its disk alone costs.
        spot = {"priority": "Spot", "evictionPolicy": "Deallocate", "billingProfile": {"maxPrice": -1}}
        return {
            "location": self.location,
            "tags": dict(order.tags),
            **({"zones": [order.zone]} if order.zone else {}),
            "properties": {
                "hardwareProfile": {"vmSize": order.size},
                "storageProfile": {"imageReference": dict(self.image), "osDisk": self._disk(name)},
                "osProfile": self._system(order),
                "networkProfile": {
                    "networkApiVersion": NETWORK,
                    "networkInterfaceConfigurations": [self._interface(name)],
                },
                "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
                **(spot if order.market is Market.SPOT else {}),
            },
        }

    def _disk(self, name: str) -> dict[str, Any]:
        return {
            "name": f"{name}-os",
            "createOption": "FromImage",
            "deleteOption": "Delete",
            "managedDisk": {"storageAccountType": self.disk_type},
            **({"diskSizeGB": self.disk_gb} if self.disk_gb else {}),
        }

    def _system(self, order: NodeOrder) -> dict[str, Any]:
        keys = [{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": self.ssh_key}]
        return {
            "computerName": order.node,
            "adminUsername": "azureuser",
            "customData": base64.b64encode(order.user_data.encode()).decode(),
            "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {"publicKeys": keys}},
        }

    def _interface(self, name: str) -> dict[str, Any]:
        outside = {"name": f"{name}-ip", "properties": {"deleteOption": "Delete"}}
        address = {
            "subnet": {"id": self.subnet},
            **({"publicIPAddressConfiguration": outside} if self.public_address else {}),
        }
        properties = {
            "primary": True,
            "deleteOption": "Delete",
            "ipConfigurations": [{"name": "inside", "properties": address}],
            **({"networkSecurityGroup": {"id": self.security_group}} if self.security_group else {}),
        }
        return {"name": f"{name}-nic", "properties": properties}


def open_azure(cloud: CloudSettings, settings: Settings) -> LibcloudProvider:
    """Azure's resource manager with a service principal. ``options``: see docs/clouds.md."""
    secret = credential(cloud, settings, _KEYS)
    chosen = options(cloud, *_OPTIONS)
    if not (group := str(chosen.get("resource_group", ""))):
        raise SetupError(
            f"cloud {cloud.name}: kind azure needs options.resource_group", hint='as in { resource_group = "…" }'
        )
    if len(cloud.security_groups) > 1:
        raise SetupError(f"cloud {cloud.name}: Azure takes one security group", hint="name one in burst.toml")
    shape = Azure(
        group=Group(secret["subscription"], group),
        location=needed(cloud, "region"),
        image=_image(cloud),
        subnet=needed(cloud, "network"),
        security_group=next(iter(cloud.security_groups), ""),
        ssh_key=str(chosen.get("ssh_key") or _nobodys_key()),
        public_address=bool(chosen.get("public_address", False)),
        disk_gb=chosen.get("disk_gb"),
        disk_type=str(chosen.get("disk_type", "StandardSSD_LRS")),
    )
    kind = _at(get_driver(Provider.AZURE_ARM), cloud.endpoint)
    environment = _environment(cloud, str(chosen.get("environment", "default")))

    def driver() -> NodeDriver:
        now = credential(cloud, settings, _KEYS)
        opened: NodeDriver = kind(
            tenant_id=now["tenant"],
            subscription_id=now["subscription"],
            key=now["client_id"],
            secret=now["client_secret"],
            cloud_environment=environment,
            timeout=TIMEOUT_S,
        )
        return opened

    return LibcloudProvider(cloud.name, driver, sizes=sizes_of(cloud), dialect=shape.dialect)


def _at(kind: Any, endpoint: str | None) -> Any:
    """libcloud's driver class for another server; its own logs in at port 443, whatever the environment says."""
    if not (place := server(endpoint)):
        return kind

    class Connection(kind.connectionCls):  # type: ignore[misc]
        def __init__(self, *words: Any, **rest: Any) -> None:
            super().__init__(*words, **rest)
            self.host, self.port, self.secure = place["host"], place["port"], place["secure"]

        def conn_class(self, *_: Any, **asked: Any) -> Any:
            connect: Any = LibcloudConnection  # without types
            return connect(**{**asked, **place})

    class Driver(kind):  # type: ignore[misc]
        connectionCls = Connection  # noqa: N815 - libcloud's name

    return Driver


def _environment(cloud: CloudSettings, name: str) -> str | Mapping[str, str]:
    from libcloud.common.azure_arm import publicEnvironments  # noqa: PLC0415 - not at every start-up

    if cloud.endpoint:
        keys = ("resourceManagerEndpointUrl", "activeDirectoryEndpointUrl", "activeDirectoryResourceId")
        return dict.fromkeys(keys, cloud.endpoint) | {"storageEndpointSuffix": urlsplit(cloud.endpoint).hostname or ""}
    if name not in publicEnvironments:
        raise SetupError(
            f"cloud {cloud.name}: there is no environment {name}", hint=f"there are {', '.join(publicEnvironments)}"
        )
    return name


def _image(cloud: CloudSettings) -> Mapping[str, str]:
    """PUBLISHER:OFFER:SKU:VERSION of the market place, or an image's resource id."""
    name = needed(cloud, "image")
    if name.startswith("/"):
        return {"id": name}
    parts = name.split(":")
    keys = ("publisher", "offer", "sku", "version")
    if len(parts) != len(keys):
        raise SetupError(
            f"cloud {cloud.name}: {name} is no image", hint="give PUBLISHER:OFFER:SKU:VERSION or a resource id"
        )
    return dict(zip(keys, parts, strict=True))


def _nobodys_key() -> str:
    """A public key whose private half nobody has: Azure wants one, and logins are by the gateway's certificates."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    text = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{text.decode()} nobody"
