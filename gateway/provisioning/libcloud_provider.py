"""LibcloudProvider: `NodeProvider` on any Apache Libcloud compute driver.

Invariant: a driver is used by one thread only (libcloud's are not thread-safe), nothing is tried twice in here, and a
create call carries the order's tags and, where the cloud knows such a thing, its token.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from libcloud.compute.base import Node, NodeDriver, NodeImage, NodeSize
from libcloud.compute.types import NodeState

from gateway.errors import Capacity, CloudAuth, CloudError, CloudInvalid, CloudTransient, PriceUnknown
from gateway.provisioning.cloud_faults import classify, is_gone
from gateway.provisioning.dialect import Dialect
from gateway.provisioning.ec2 import EC2
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.node import (
    TAG_CLUSTER,
    TAG_FIRST,
    TAG_GANG,
    TAG_GENERATION,
    TAG_NODE,
    TAG_TOKEN,
    Leftover,
    Machine,
    MachineState,
    NodeOrder,
    Size,
)
from gateway.provisioning.one_by_one import one_by_one
from gateway.provisioning.openstack import OPENSTACK

_CONSOLE_CHARACTERS = 16384


DIALECTS: Mapping[str, Dialect] = {
    "local": Dialect("ex_userdata", "ex_metadata", "ex_client_token", "tags"),
    "ec2": EC2,
    "openstack": OPENSTACK,
}
"""Those whose particulars are the same for every account."""


class LibcloudProvider:
    """Orders machines of ``sizes`` from a libcloud driver.

    ``sizes`` is the price book: libcloud's own prices are old, and often zero. ``image`` is an id or a name; None takes
    the driver's first. ``arguments`` go into each create call: networks, key pair, security groups.
    """

    def __init__(
        self,
        name: str,
        driver_factory: Callable[[], NodeDriver],
        *,
        sizes: tuple[Size, ...],
        dialect: Dialect,
        image: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self._factory = driver_factory
        self._sizes = {size.name: size for size in sizes}
        self._dialect = dialect
        self._image_name = image
        self._arguments = dict(arguments or {})
        self._thread = threading.local()

    def sizes(self) -> tuple[Size, ...]:
        """What can be had."""
        return tuple(self._sizes.values())

    def create(self, order: NodeOrder) -> Machine:
        """Create the machine, or return the live one that the same token already made. Raises CloudError."""
        self._require_price(order.size)
        if self._dialect.token is None and (found := self._by_token(order)) is not None:
            return found
        return self._ordered(order)

    def create_gang(self, gang: GangOrder) -> tuple[Machine, ...]:
        """One order for each; what a cloud without client tokens has already, one listing tells. Raises CloudError."""
        self._require_price(gang.orders[0].size)
        listed = self.machines(gang.orders[0].cluster) if self._dialect.token is None else ()
        known = {each.token: each for each in listed if each.state is not MachineState.TERMINATING}
        return one_by_one(gang, lambda order: known.get(order.token) or self._ordered(order), self.destroy)

    def _ordered(self, order: NodeOrder) -> Machine:
        if self._dialect.order is not None:
            with self._classified(changes=True):
                return self._dialect.order(self._driver, order)
        with self._classified(changes=False):
            size, image = self._size(order.size), self._image()
            arguments: dict[str, Any] = {
                **self._arguments,
                **self._dialect.placing(self._driver, order),
                self._dialect.user_data: order.user_data,
                self._dialect.tags: dict(order.tags),
            }
        if self._dialect.token is not None:
            arguments[self._dialect.token] = order.token
        with self._classified(changes=True):
            node = self._driver.create_node(name=order.node, size=size, image=image, **arguments)
        return _machine(node, order.tags, zone=order.zone, market=order.market)

    def machines(self, cluster: str) -> tuple[Machine, ...]:
        """Every machine tagged with ``cluster`` that has not ended. Raises CloudError."""
        with self._classified(changes=False):
            if self._dialect.found is not None:
                return tuple(self._dialect.found(self._driver, cluster))
            nodes = self._dialect.all_nodes(self._driver, cluster)
        tagged = ((node, self._tags(node)) for node in nodes if node.state != NodeState.TERMINATED)
        ours = ((node, tags) for node, tags in tagged if tags.get(TAG_CLUSTER) == cluster)
        return tuple(_machine(node, tags, **self._dialect.facts(node)) for node, tags in ours)

    def destroy(self, machine_id: str) -> None:
        """End the machine; ending one that is gone is no error. Raises CloudError."""
        with self._classified(changes=False):
            try:
                accepted = self._dialect.end(self._driver, machine_id)
            except Exception as error:
                if is_gone(error):
                    return
                raise
        if not accepted:
            raise CloudTransient(f"{self.name} did not accept the end of {machine_id}")

    def console(self, machine_id: str) -> str:
        """The end of its console; "" if there is none or it cannot be had."""
        try:
            with self._classified(changes=False):
                return self._dialect.console(self._driver, machine_id)[-_CONSOLE_CHARACTERS:]
        except CloudError:
            return ""  # only ever asked for to explain another failure

    def leftovers(self, cluster: str) -> tuple[Leftover, ...]:
        """What carries the cluster's tags and belongs to no machine. Raises CloudError."""
        with self._classified(changes=False):
            return tuple(self._dialect.leftovers(self._driver, cluster))

    def clean(self, leftover: Leftover) -> None:
        """Remove it; one that is gone is no error. Raises CloudError."""
        with self._classified(changes=False):
            try:
                self._dialect.clean(self._driver, leftover)
            except Exception as error:
                if not is_gone(error):
                    raise

    @property
    def _driver(self) -> NodeDriver:
        if not hasattr(self._thread, "driver"):
            with self._classified(changes=False):
                self._thread.driver = self._factory()
        driver: NodeDriver = self._thread.driver
        return driver

    def _require_price(self, size: str) -> None:
        if size not in self._sizes:
            raise CloudInvalid(f"{self.name} has no size {size}", hint=f"it has {', '.join(self._sizes)}")
        price = self._sizes[size].price_ucr_per_hour
        if price is not None and price <= 0:
            raise PriceUnknown(f"the price of size {size} at {self.name} is not known", hint="set it in the settings")

    def _by_token(self, order: NodeOrder) -> Machine | None:
        same = (machine for machine in self.machines(order.cluster) if machine.token == order.token)
        return next((machine for machine in same if machine.state is not MachineState.TERMINATING), None)

    def _size(self, name: str) -> NodeSize:
        if "size" in self._dialect.has_ids:
            # Not from libcloud's list, which is made by hand and lacks what is younger than its release.
            return NodeSize(name, name, ram=0, disk=0, bandwidth=0, price=0.0, driver=self._driver)
        for size in self._driver.list_sizes():
            if name in {size.id, size.name}:
                return size
        raise CloudInvalid(f"{self.name} has no size {name}", hint="check the sizes in the settings")

    def _image(self) -> NodeImage:
        name = self._image_name
        if name is not None and "image" in self._dialect.has_ids:
            return NodeImage(id=name, name=name, driver=self._driver)
        for image in self._driver.list_images():
            if name is None or name in {image.id, image.name}:
                return image
        raise CloudInvalid(f"{self.name} has no image {name}", hint="check the image in the settings")

    def _machines_of(self, nodes: Iterable[Node]) -> tuple[Machine, ...]:
        return tuple(_machine(node, self._tags(node), **self._dialect.facts(node)) for node in nodes)

    def _tags(self, node: Node) -> Mapping[str, str]:
        return node.extra.get(self._dialect.kept_tags) or {}

    @contextmanager
    def _classified(self, *, changes: bool) -> Iterator[None]:
        try:
            yield
        except CloudError:
            raise
        except Exception as error:  # noqa: BLE001 - drivers raise whatever their transport raises
            # Not "from error": its text may quote the request, and a traceback would show the join token in it.
            found = classify(error, changes=changes)
            if isinstance(found, CloudAuth):
                # The next call logs in anew, with what the credential's file has by then.
                vars(self._thread).pop("driver", None)
            raise found from None


def _machine(node: Node, tags: Mapping[str, str], **facts: Any) -> Machine:
    return Machine(
        id=str(node.id),
        node=tags.get(TAG_NODE, "" if TAG_GANG in tags else node.name),
        generation=_number(tags.get(TAG_GENERATION, "")),
        token=tags.get(TAG_TOKEN, ""),
        state=_state(node),
        address=next(iter([*node.private_ips, *node.public_ips]), None),
        public_addresses=tuple(node.public_ips),
        created_at=node.created_at,
        gang=tags.get(TAG_GANG, ""),
        number=_place(node, tags),
        **{"no_room": _no_room(node), "boot_s": float(node.extra.get("boot_s") or 0), **facts},
    )


def _place(node: Node, tags: Mapping[str, str]) -> int | None:
    """Of a gang's machine: its place in its call, and where in the gang the call began."""
    index, first = node.extra.get("launch_index"), _number(tags.get(TAG_FIRST, "0"))
    return index + first if TAG_GANG in tags and isinstance(index, int) and first >= 0 else None


def _no_room(node: Node) -> str:
    """What OpenStack's scheduler says of a server that it took and then could not place."""
    fault = node.extra.get("fault") or {}
    text = str(fault.get("message", "")) if isinstance(fault, Mapping) else ""
    return (
        text if node.state == NodeState.ERROR and isinstance(classify(Exception(text), changes=False), Capacity) else ""
    )


def _number(text: str) -> int:
    # A tag that somebody edited must not blind the gateway to a machine that costs money.
    return int(text) if text.isdecimal() else -1


def _state(node: Node) -> MachineState:
    if node.extra.get("status") == "shutting-down" or node.extra.get("task_state") == "deleting":
        return MachineState.TERMINATING
    if node.extra.get("status") == "stopping":
        return MachineState.STOPPED
    return _STATES.get(node.state, MachineState.PENDING)


_STATES = {
    NodeState.RUNNING: MachineState.RUNNING,
    NodeState.REBOOTING: MachineState.RUNNING,
    NodeState.STOPPED: MachineState.STOPPED,
    NodeState.STOPPING: MachineState.STOPPED,
    NodeState.SUSPENDED: MachineState.STOPPED,
    NodeState.PAUSED: MachineState.STOPPED,
    NodeState.ERROR: MachineState.ERROR,
    NodeState.TERMINATED: MachineState.TERMINATING,
}
