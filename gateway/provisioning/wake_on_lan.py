"""WakeOnLan: a host is woken by a magic packet to its network card; nothing tells whether it heard, or switches it off.

Invariant: the packet is six bytes FF and sixteen times the card's address (AMD's white paper 20213).
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from gateway.errors import InvalidRequest
from gateway.provisioning.host_power import PowerRefused, PowerState, PowerUnreachable

_PACKETS = 3
"""UDP may lose one."""
_MAC = re.compile(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}", re.IGNORECASE)


@dataclass(frozen=True)
class WakeOnLan:
    """``mac``: of the card that sleeps; ``address``: the broadcast address of its network."""

    mac: str
    address: str = "255.255.255.255"
    port: int = 9
    tells = False

    @property
    def name(self) -> str:
        """The card's address."""
        return f"wake-on-lan {self.mac}"

    def state(self) -> PowerState:
        """Nothing tells."""
        return PowerState.UNKNOWN

    def on(self) -> None:
        """See ``HostPower.on``. Raises PowerUnreachable if this computer has no way to that network."""
        packet = magic_packet(self.mac)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                for _ in range(_PACKETS):
                    sender.sendto(packet, (self.address, self.port))
        except OSError as error:
            raise PowerUnreachable(f"{self.name}: no packet to {self.address}: {error}") from None

    def off(self) -> None:
        """Raises PowerRefused: a sleeping card hears one thing only."""
        raise PowerRefused("a magic packet only wakes", hint="the host is shut down over SSH")

    def cut(self) -> None:
        """Raises PowerRefused."""
        self.off()


def magic_packet(mac: str) -> bytes:
    """The 102 bytes. Raises InvalidRequest for what is no MAC address."""
    if not _MAC.fullmatch(mac):
        raise InvalidRequest(f"{mac} is no MAC address", hint="it is six pairs: 00:16:3e:12:34:56", field="mac")
    return b"\xff" * 6 + bytes.fromhex(re.sub("[:-]", "", mac)) * 16
