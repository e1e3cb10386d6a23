"""LocalNodeDriver: the local cloud as an Apache Libcloud compute driver, so that any libcloud program can use it.

Invariant: all state is on disk and in the kernel; a driver made in another process, after any crash, sees and can
destroy every machine, half-made ones included. Create calls with the same client token make one machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from libcloud.common.base import ConnectionKey
from libcloud.common.exceptions import BaseHTTPError
from libcloud.compute.base import (
    Node,
    NodeAuthPassword,
    NodeAuthSSHKey,
    NodeDriver,
    NodeImage,
    NodeLocation,
    NodeSize,
)
from libcloud.compute.providers import DRIVERS, set_driver
from libcloud.compute.types import NodeState

from gateway.provisioning.instance import Instance, Instances, new_id
from gateway.provisioning.node_host import Life, NodeHost
from gateway.settings import CREDIT, DEFAULT_SIZES, SizeSettings

PROVIDER = "burst_local"
"""This driver's name for `libcloud.compute.providers.get_driver`, after `register`."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_UNBORN_S = 15
"""Seconds that a machine may be recorded before it is started; after that, who wanted to start it has died."""
_CONSOLE_BYTES = 65536
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])|[\x1b\r]")
"""Control sequences and control strings (ECMA-48 §5.4, §5.6) and carriage returns."""


class _NoConnection(ConnectionKey):
    """The cloud is this computer."""

    def connect(self, host: Any = None, port: Any = None, base_url: Any = None, **kwargs: Any) -> None:
        """There is nothing to connect to."""


class LocalNodeDriver(NodeDriver):
    """Machines on this computer, kept below the folder ``key``.

    ``node_host`` runs them (see `gateway.provisioning.local_cloud` for the choice); ``sizes`` are what is offered.
    A call that is refused raises ``libcloud.common.exceptions.BaseHTTPError`` with the status and the "Code: text"
    that EC2 would answer with: InsufficientInstanceCapacity, InvalidInstanceID.NotFound, InvalidParameterValue.
    """

    connectionCls = _NoConnection  # noqa: N815 - the name is libcloud's
    name = "Burst local cloud"
    website = "https://libcloud.apache.org"
    type = PROVIDER

    def __init__(
        self, key: str | Path, *, node_host: NodeHost, sizes: Sequence[SizeSettings] = DEFAULT_SIZES, **kwargs: Any
    ) -> None:
        super().__init__(str(key), **kwargs)  # type: ignore[no-untyped-call]
        self._host = node_host
        self._offered = {size.name: size for size in sizes}
        self._instances = Instances(Path(key))

    def list_sizes(self, location: NodeLocation | None = None) -> list[NodeSize]:  # noqa: ARG002 - there is one
        """The sizes; ``price`` in credits per hour, ``extra`` has cores, gpus and max_nodes."""
        return [self._size(size) for size in self._offered.values()]

    def list_images(self, location: NodeLocation | None = None) -> list[NodeImage]:  # noqa: ARG002
        """The one image."""
        return [NodeImage(id="node", name=f"a node as a {self._host.form}", driver=self)]

    def list_locations(self) -> list[NodeLocation]:
        """This computer."""
        return [NodeLocation(id="here", name="this computer", country="", driver=self)]

    def list_nodes(self) -> list[Node]:
        """Every machine that has not ended, stopped and failed ones included."""
        return [self._node(instance) for instance in self._instances]

    def create_node(
        self,
        name: str,
        size: NodeSize,
        image: NodeImage | None = None,
        location: NodeLocation | None = None,  # noqa: ARG002
        auth: NodeAuthSSHKey | NodeAuthPassword | None = None,
        *,
        ex_userdata: str = "",
        ex_metadata: Mapping[str, str] | None = None,
        ex_client_token: str | None = None,
        ex_launch_index: int | None = None,
    ) -> Node:
        """Make a machine called ``name`` and return it, PENDING, without waiting for its boot.

        ``ex_userdata``: for cloud-init. ``ex_metadata``: its tags. ``ex_client_token``: the same token again returns
        the machine of the first call, started if that call died before it could start it. ``ex_launch_index``: its
        number among several, for its metadata.
        """
        if auth is not None:
            raise _refusal(400, "InvalidParameterValue: keys and passwords go into the user-data")
        if not _NAME.fullmatch(name):
            raise _refusal(400, f"InvalidParameterValue: {name!r} cannot be a host name")
        if size.id not in self._offered:
            raise _refusal(400, f"InvalidParameterValue: there is no size {size.id!r}")
        wanted = Instance(
            folder=self._instances.folder / name,
            id=new_id(name),
            name=name,
            size=self._offered[size.id],
            image=image.id if image else "node",
            token=ex_client_token,
            tags=dict(ex_metadata or {}),
            created_at=datetime.now(UTC),
            launch_index=ex_launch_index,
        )
        return self._node(self._begin(self._recorded(wanted, ex_userdata)), state=NodeState.PENDING)

    def destroy_node(self, node: Node) -> bool:
        """End a machine by force and delete its disk; returns when it is gone."""
        instance = self._known(node)
        with self._instances.held(instance) as exists:
            if exists:
                self._end(instance)
        with self._instances.locked():
            self._host.publish(tuple(self._instances))
        return True

    def reboot_node(self, node: Node) -> bool:
        """End a machine by force and boot it again with its disk."""
        instance = self._known(node)
        with self._instances.held(instance) as exists:
            if exists:
                self._kill(instance)
                self._host.start(instance)
        return exists

    def ex_get_console_output(self, node: Node) -> dict[str, Any]:
        """``{"instance_id", "timestamp", "output"}``, the last 64 KiB as text, as the EC2 driver gives them."""
        instance = self._known(node)
        try:
            raw = instance.console.read_bytes()[-_CONSOLE_BYTES:]
        except FileNotFoundError:
            raw = b""
        output = _TERMINAL.sub("", raw.decode(errors="replace"))
        return {"instance_id": instance.id, "timestamp": datetime.now(UTC), "output": output}

    def _recorded(self, wanted: Instance, user_data: str) -> Instance:
        with self._instances.locked():
            live = tuple(self._instances)
            for instance in live:
                if wanted.token is not None and instance.token == wanted.token:
                    return instance
            self._require_room(wanted, live)
            taken = {IPv4Address(instance.address) for instance in live}
            made = self._instances.add(wanted, user_data, lambda draft: self._host.furnish(draft, taken))
            self._host.publish((*live, made))
            return made

    def _require_room(self, wanted: Instance, live: Sequence[Instance]) -> None:
        if any(instance.name == wanted.name for instance in live):
            raise _refusal(409, f"InstanceNameInUse: there is a machine called {wanted.name} already")
        used = sum(instance.size.name == wanted.size.name for instance in live)
        if used >= wanted.size.max_nodes:
            size = wanted.size
            raise _refusal(
                500, f"InsufficientInstanceCapacity: all {size.max_nodes} machines of size {size.name} are in use"
            )

    def _begin(self, instance: Instance) -> Instance:
        with self._instances.held(instance) as exists:
            if exists and not instance.ending and self._host.life(instance) is Life.UNBORN:
                self._host.start(instance)
        return instance

    def _end(self, instance: Instance) -> None:
        self._instances.begin_end(instance)
        self._kill(instance)
        self._instances.remove(instance)

    def _kill(self, instance: Instance) -> None:
        if not self._host.kill(instance):
            raise _refusal(503, f"Unavailable: some processes of {instance.id} do not end yet")

    def _known(self, node: Node) -> Instance:
        instance = self._instances.get(str(node.id))
        if instance is None:
            raise _refusal(404, f"InvalidInstanceID.NotFound: there is no machine {node.id}")
        return instance

    def _node(self, instance: Instance, state: NodeState | None = None) -> Node:
        extra = {
            "tags": dict(instance.tags),
            "client_token": instance.token,
            "status": "shutting-down" if instance.ending else "",
            "cores": instance.size.cores,
            "gpus": instance.size.gpus,
        }
        return Node(
            id=instance.id,
            name=instance.name,
            state=state or self._state(instance),
            public_ips=[],
            private_ips=[instance.address],
            driver=self,
            size=self._size(instance.size),
            image=NodeImage(id=instance.image, name=instance.image, driver=self),
            extra=extra,
            created_at=instance.created_at,
        )

    def _state(self, instance: Instance) -> NodeState:
        if instance.ending:
            return NodeState.UNKNOWN
        life = self._host.life(instance)
        if life is Life.UNBORN:
            age = (datetime.now(UTC) - instance.created_at).total_seconds()
            return NodeState.PENDING if age < _UNBORN_S else NodeState.ERROR
        return _STATES[life]

    def _size(self, size: SizeSettings) -> NodeSize:
        return NodeSize(
            id=size.name,
            name=size.name,
            ram=size.memory_mb,
            disk=0,
            bandwidth=0,
            price=(size.price_ucr_per_hour or 0) / CREDIT,
            driver=self,
            extra={"cores": size.cores, "gpus": size.gpus, "max_nodes": size.max_nodes},
        )


_STATES = {
    Life.STARTING: NodeState.PENDING,
    Life.RUNNING: NodeState.RUNNING,
    Life.OVER: NodeState.STOPPED,
    Life.FAILED: NodeState.ERROR,
}


def register() -> None:
    """Make the driver known to ``libcloud.compute.providers.get_driver(PROVIDER)``; safe to repeat."""
    if PROVIDER not in DRIVERS:
        add: Callable[..., object] = set_driver  # its own annotation has other types than it takes
        add(PROVIDER, __name__, LocalNodeDriver.__name__)


def _refusal(status: int, text: str) -> BaseHTTPError:
    return BaseHTTPError(status, text)  # type: ignore[no-untyped-call]
