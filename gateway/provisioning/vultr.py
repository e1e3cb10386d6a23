"""Vultr: virtual machines and bare metal of one account, ordered through libcloud's connection.

Invariant: Vultr knows no client token, so a machine is looked up by its order's tag before it is ordered; it has no
spare capacity to sell, so an order for that is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from libcloud.compute.base import NodeDriver
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from gateway.errors import CloudInvalid, SetupError
from gateway.provisioning.credentials import TIMEOUT_S, credential, needed, options, server, sizes_of
from gateway.provisioning.dialect import Dialect, anywhere, machine_of, name_of, node_of
from gateway.provisioning.labels import label, labels, tags
from gateway.provisioning.libcloud_provider import LibcloudProvider
from gateway.provisioning.node import TAG_CLUSTER, Leftover, LeftoverKind, Machine, MachineState, NodeOrder
from gateway.settings import CloudSettings, Settings

METAL = "vbm-"
"""How the plans of bare metal are called; they and virtual machines have paths of their own."""

_KINDS = {"instances": "instance", "bare-metals": "bare_metal"}
"""Path → what one is called in an answer; several are called that and an "s"."""

_LEFT = {"blocks": LeftoverKind.DISK, "reserved-ips": LeftoverKind.ADDRESS}

_STATES = {"halted": MachineState.STOPPED, "suspended": MachineState.STOPPED, "active": MachineState.RUNNING}

_NO_ADDRESS = {"", "0.0.0.0"}  # noqa: S104 - what Vultr says of a machine that has none yet


@dataclass(frozen=True)
class Vultr:
    """What an account's machines have in common. ``firewall`` and ``vpc`` are of virtual machines only."""

    region: str
    image: Mapping[str, Any]
    vpc: str = ""
    firewall: str = ""
    ssh_keys: tuple[str, ...] = ()

    @property
    def dialect(self) -> Dialect:
        """What is done in place of the driver's own.

        libcloud's create_node gives one tag, in a field that Vultr is about to drop, and no VPC; its nodes lack their
        tags; its destroy_node must be told the plan to find bare metal. What it has is the login, the connection and
        its errors.
        """
        return Dialect(
            user_data="user_data",
            tags="tags",
            token=None,
            kept_tags="tags",
            order=self.order,
            found=_found,
            end=_end,
            console=lambda _driver, _id: "",
            leftovers=_leftovers,
            clean=_clean,
        )

    def order(self, driver: Any, order: NodeOrder) -> Machine:
        """Order the machine; it was looked up before."""
        anywhere(driver, replace(order, zone=""))
        path = "bare-metals" if order.size.startswith(METAL) else "instances"
        answer = driver.connection.request(f"/v2/{path}", data=json.dumps(self._body(order, path)), method="POST")
        return _machine(path, answer.object[_KINDS[path]])

    def _body(self, order: NodeOrder, path: str) -> dict[str, Any]:
        machines_only = {
            "firewall_group_id": self.firewall,
            "attach_vpc": [self.vpc] if self.vpc else [],
            # Backups cost a fifth more, and a node has nothing to keep.
            "backups": "disabled",
        }
        body = {
            "region": order.zone or self.region,
            "plan": order.size,
            "label": name_of(order),
            "hostname": order.node,
            "user_data": base64.b64encode(order.user_data.encode()).decode(),
            "tags": [f"{name}={text}" for name, text in labels(order.tags).items()],
            "activation_email": False,
            "sshkey_id": list(self.ssh_keys),
            **self.image,
            **(machines_only if path == "instances" else {}),
        }
        return {name: value for name, value in body.items() if value not in ("", [])}


def open_vultr(cloud: CloudSettings, settings: Settings) -> LibcloudProvider:
    """Vultr with an API key. ``options``: ``ssh_keys``, ids of keys that operators log in with."""
    credential(cloud, settings, ("api_key",))
    chosen = options(cloud, "ssh_keys")
    if len(cloud.security_groups) > 1:
        raise SetupError(f"cloud {cloud.name}: Vultr takes one firewall group", hint="name one in burst.toml")
    shape = Vultr(
        region=needed(cloud, "region"),
        image=_image(needed(cloud, "image")),
        vpc=cloud.network or "",
        firewall=next(iter(cloud.security_groups), ""),
        ssh_keys=tuple(map(str, chosen.get("ssh_keys", ()))),
    )
    kind: Any = get_driver(Provider.VULTR)

    def driver() -> NodeDriver:
        secret = credential(cloud, settings, ("api_key",))
        opened: NodeDriver = kind(secret["api_key"], api_version="2", timeout=TIMEOUT_S, **server(cloud.endpoint))
        return opened

    return LibcloudProvider(cloud.name, driver, sizes=sizes_of(cloud), dialect=shape.dialect)


def _image(name: str) -> Mapping[str, Any]:
    """An operating system of Vultr's has a number; what is not one is a snapshot."""
    return {"os_id": int(name)} if name.isdecimal() else {"snapshot_id": name}


def _found(driver: Any, cluster: str) -> Iterator[Machine]:
    """Every machine with the cluster's tag, of either kind."""
    for path, one in _KINDS.items():
        for item in _pages(driver, path, f"{one}s", tag=f"{TAG_CLUSTER}={label(cluster)}"):
            yield _machine(path, item)


def _pages(driver: Any, path: str, key: str, **asked: str) -> Iterator[Mapping[str, Any]]:
    """To the last page; libcloud's own reader takes an answer without the list for one with none."""
    cursor = ""
    while True:
        params = asked | ({"cursor": cursor} if cursor else {})
        answer = driver.connection.request(f"/v2/{path}", params=params).object
        yield from answer[key]
        if not (cursor := answer["meta"]["links"]["next"]):
            return


def _machine(path: str, item: Mapping[str, Any]) -> Machine:
    known = tags(dict(each.split("=", 1) for each in item.get("tags", ()) if "=" in each))
    inside, outside = item.get("internal_ip", ""), item.get("main_ip", "")
    addresses = [each for each in (inside, outside) if each not in _NO_ADDRESS]
    state = _STATES.get(item["status"], MachineState.PENDING)
    if state is MachineState.RUNNING and item.get("power_status", "running") != "running":
        state = MachineState.STOPPED
    return machine_of(
        known,
        id=f"{path}/{item['id']}",
        state=state,
        address=next(iter(addresses), None),
        public_addresses=() if outside in _NO_ADDRESS else (outside,),
        created_at=datetime.fromisoformat(item["date_created"]),
        zone=item["region"],
    )


def _end(driver: Any, machine_id: str) -> bool:
    driver.connection.request(f"/v2/{_of_ours(machine_id)}", method="DELETE")
    return True


def _of_ours(machine_id: str) -> str:
    """A path of either kind. Raises CloudInvalid for any other: it must not become another call."""
    path, _, name = machine_id.partition("/")
    if path not in _KINDS or not name:
        raise CloudInvalid(f"{machine_id} is no machine of Vultr's", hint="its id is instances/… or bare-metals/…")
    return f"{path}/{quote(name, safe='')}"


def _leftovers(driver: Any, cluster: str) -> Iterator[Leftover]:
    """Volumes and addresses that hang on nothing; these have no tags, and are known by the machine's label."""
    for path, what in _LEFT.items():
        for item in _pages(driver, path, path.replace("-", "_")):
            node = node_of(item.get("label", ""), cluster)
            if node is not None and not (item.get("attached_to_instance") or item.get("instance_id")):
                born = item.get("date_created")
                yield Leftover(f"{path}/{item['id']}", what, node, datetime.fromisoformat(born) if born else None)


def _clean(driver: Any, leftover: Leftover) -> None:
    driver.connection.request(f"/v2/{leftover.id}", method="DELETE")
