"""A gateway whose local cloud has zones with little room: what a cloud does to orders, between it and the real nodes.

Invariant: machines, Slurm and gateway are real; only the refusals are made here. Run as a program: ``DIR ROOM``, where
ROOM is a JSON file {zone: most machines at once} that is read at every order.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gateway.bootstrap.lifecycle import make_ready
from gateway.bootstrap.machine import Machine as Parts
from gateway.bootstrap.serve import serve
from gateway.errors import Capacity
from gateway.provisioning.gang import GangOrder
from gateway.provisioning.node import Leftover, Machine, NodeOrder, NodeProvider, Size
from gateway.provisioning.one_by_one import one_by_one
from gateway.provisioning.supply import Supplies, Supply
from gateway.settings import Settings


class Zones:
    """A NodeProvider in front of another; what it made where is kept in a file, across restarts."""

    name = "zones"

    def __init__(self, inner: NodeProvider, room: Path) -> None:
        self._inner = inner
        self._room = room
        self._made = room.with_suffix(".made")
        self._lock = threading.Lock()

    def sizes(self) -> tuple[Size, ...]:
        return self._inner.sizes()

    def create(self, order: NodeOrder) -> Machine:
        with self._lock:
            made = self._read(self._made)
            live = {machine.id for machine in self._inner.machines(order.cluster)}
            used = sum(zone == order.zone for name, zone in made.items() if name in live)
            if used >= self._read(self._room).get(order.zone, 0):
                raise Capacity(f"zone {order.zone} has no room for {order.size} now")
            machine = self._inner.create(replace(order, zone=""))  # the real local cloud has no zones
            self._made.write_text(json.dumps({**made, machine.id: order.zone}))
        return machine

    def create_gang(self, gang: GangOrder) -> tuple[Machine, ...]:
        return one_by_one(gang, self.create, self.destroy)

    def machines(self, cluster: str) -> tuple[Machine, ...]:
        return self._inner.machines(cluster)

    def destroy(self, machine_id: str) -> None:
        self._inner.destroy(machine_id)

    def console(self, machine_id: str) -> str:
        return self._inner.console(machine_id)

    def leftovers(self, cluster: str) -> tuple[Leftover, ...]:
        return self._inner.leftovers(cluster)

    def clean(self, leftover: Leftover) -> None:
        self._inner.clean(leftover)

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        return json.loads(path.read_text()) if path.exists() else {}


def main(directory: Path, room: Path) -> None:
    """Serve until SIGTERM."""
    whole = Parts.__dict__["provider"].func

    def provider(parts: Parts) -> Any:
        router = whole(parts)
        return replace(router, local=Zones(router.local, room))

    zoned = cached_property(provider)
    zoned.__set_name__(Parts, "provider")
    Parts.provider = zoned  # type: ignore[method-assign, assignment]
    Supplies.of = classmethod(_zoned)  # type: ignore[method-assign, assignment]
    serve(make_ready(directory, {}, lambda _: None))


def _zoned(cls: type[Supplies], settings: Settings, _: object = None) -> Supplies:
    """Of each size first what the east has, then the west."""
    zones = ("east", "west")
    return cls({size.name: tuple(Supply(f"local/{size.name}@{zone}") for zone in zones) for size in settings.sizes})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
