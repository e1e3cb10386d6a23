"""NodeHost: the port to what makes the local cloud's machines run.

Invariant: a host keeps no memory of its own: what runs is read from the kernel and the machine's folder each time.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Protocol

from gateway.provisioning.instance import Instance
from gateway.provisioning.node_image import Progress


class Life(StrEnum):
    """Whether a machine runs."""

    UNBORN = "unborn"
    """Recorded, never started."""
    STARTING = "starting"
    RUNNING = "running"
    OVER = "over"
    """It ran and ended by itself."""
    FAILED = "failed"
    """It ended before it ran."""


class NodeHost(Protocol):
    """Runs instances. Every method may be called by several threads for different instances."""

    @property
    def form(self) -> str:
        """What its machines are: "container" or "process"."""

    @property
    def address(self) -> str:
        """This computer's address as its nodes see it."""

    def prepare(self, progress: Progress) -> None:
        """Make ready what all machines share; safe to repeat. Raises SetupError."""

    def furnish(self, instance: Instance, taken: Collection[IPv4Address]) -> Instance:
        """Put into a new machine's folder what it needs, and give it an address."""

    def start(self, instance: Instance) -> None:
        """Start it and return at once."""

    def life(self, instance: Instance) -> Life:
        """Whether it runs."""

    def kill(self, instance: Instance) -> bool:
        """End all its processes by force and free what the kernel keeps for it; False if some would not end."""

    def publish(self, instances: Collection[Instance]) -> None:
        """Tell the machines each other's names."""

    def teardown(self) -> None:
        """Remove what `prepare` made outside the cloud's folder; no machine may be left."""
