"""Bridged: hosts whose nodes are systems of their own, made from one image, on a bridge of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gateway.provisioning.network import NodeNetwork
from gateway.provisioning.node_image import NodeImage


@dataclass(frozen=True)
class Bridged:
    """Nodes below ``folder``, made from ``image``."""

    folder: Path
    image: NodeImage

    @cached_property
    def network(self) -> NodeNetwork:
        """The nodes' network, chosen at first use. Raises SetupError if no addresses are free."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return NodeNetwork.of(self.folder)

    @property
    def address(self) -> str:
        """This computer's address on the nodes' bridge, their way to all its other addresses."""
        return str(self.network.gateway)
