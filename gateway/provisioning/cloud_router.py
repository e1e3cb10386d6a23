"""CloudRouter: all clouds of a gateway as one NodeProvider.

Invariant: the local cloud's machine ids stay as they are; those of another carry its name, "aws/i-0abc", so every call
about a machine reaches the cloud that made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from gateway.errors import CloudError, CloudInvalid
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.node import Leftover, Machine, NodeOrder, NodeProvider, Size
from gateway.provisioning.supply import Supply
from gateway.settings import LOCAL_CLOUD

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CloudRouter:
    """``local``: this computer, whose sizes are Slurm's; ``others``: by name."""

    local: NodeProvider
    others: Mapping[str, NodeProvider] = field(default_factory=dict)
    name: str = "clouds"

    @property
    def clouds(self) -> tuple[str, ...]:
        """Their names."""
        return (LOCAL_CLOUD, *self.others)

    def sizes(self) -> tuple[Size, ...]:
        """The sizes of Slurm nodes, at the price that jobs pay."""
        return self.local.sizes()

    def create(self, order: NodeOrder) -> Machine:
        """See ``NodeProvider.create``; the order's size is "CLOUD/SIZE"."""
        supply = Supply(order.size)
        inner = replace(order, size=supply.size, supply=order.size)
        return _outside(supply.cloud, self._at(supply.cloud).create(inner))

    def create_gang(self, gang: GangOrder) -> tuple[Machine, ...]:
        """See ``NodeProvider.create_gang``; the orders' size is "CLOUD/SIZE"."""
        supply = Supply(gang.orders[0].size)
        orders = tuple(replace(order, size=supply.size, supply=order.size) for order in gang.orders)
        made = self._at(supply.cloud).create_gang(replace(gang, orders=orders))
        return tuple(_outside(supply.cloud, machine) for machine in made)

    def machines(self, cluster: str) -> tuple[Machine, ...]:
        """See ``NodeProvider.machines``: of all clouds, or the error of the first that cannot be read."""
        return tuple(machine for cloud in self.clouds for machine in self.machines_at(cloud, cluster))

    def machines_at(self, cloud: str, cluster: str) -> tuple[Machine, ...]:
        """The live machines of one cloud. Raises CloudError."""
        return tuple(_outside(cloud, machine) for machine in self._at(cloud).machines(cluster))

    def destroy(self, machine_id: str) -> None:
        """See ``NodeProvider.destroy``."""
        cloud, inner = _inside(machine_id)
        self._at(cloud).destroy(inner)

    def console(self, machine_id: str) -> str:
        """See ``NodeProvider.console``."""
        cloud, inner = _inside(machine_id)
        return self._at(cloud).console(inner)

    def leftovers(self, cluster: str) -> tuple[Leftover, ...]:
        """See ``NodeProvider.leftovers``: of the clouds that answer; its lack proves nothing."""
        return tuple(each for cloud in self.clouds for each in self._leftovers_at(cloud, cluster))

    def clean(self, leftover: Leftover) -> None:
        """See ``NodeProvider.clean``."""
        cloud, _, inner = leftover.id.partition("/")
        self._at(cloud).clean(replace(leftover, id=inner))

    def _leftovers_at(self, cloud: str, cluster: str) -> tuple[Leftover, ...]:
        try:
            found = self._at(cloud).leftovers(cluster)
        except CloudError as error:
            log.warning("leftovers not read", cloud=cloud, error=error.detail)
            return ()
        return tuple(replace(each, id=f"{cloud}/{each.id}") for each in found)

    def _at(self, cloud: str) -> NodeProvider:
        provider = self.local if cloud == LOCAL_CLOUD else self.others.get(cloud)
        if provider is None:
            raise CloudInvalid(f"there is no cloud {cloud}", hint="its machines end once it is in the settings again")
        return provider


def _outside(cloud: str, machine: Machine) -> Machine:
    return machine if cloud == LOCAL_CLOUD else replace(machine, id=f"{cloud}/{machine.id}")


def _inside(machine_id: str) -> tuple[str, str]:
    cloud, slash, inner = machine_id.partition("/")
    return (cloud, inner) if slash else (LOCAL_CLOUD, machine_id)
