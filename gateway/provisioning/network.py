"""NodeNetwork: the bridge and the addresses of one local cloud's container nodes.

Invariant: an address always has the same hardware address, and so has the bridge: no neighbour's ARP entry ever goes
stale. The network is chosen once, kept in the cloud's folder, and its name is unique to that folder.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from pathlib import Path
from typing import Any

from gateway.errors import SetupError

_POOL = tuple(collapse_addresses(IPv4Network(f"10.{second}.0.0/16") for second in range(77, 100)))
_PREFIX = 22
_RESERVED = 10
"""The first addresses belong to the host."""
_WIDE = 16
"""Routes to more than this are somebody's default for 10.0.0.0/8; ours, being longer, wins over them."""

_INTERFACE = """\
[Match]
Name=host0
[Link]
MACAddress={mac}
[Network]
Address={address}/{prefix}
DHCP=no
IPv6AcceptRA=no
LinkLocalAddressing=no
"""


@dataclass(frozen=True)
class NodeNetwork:
    """A bridge (at most 15 characters, netdevice(7)) and its subnet; nodes reach each other and this host, no more."""

    bridge: str
    subnet: IPv4Network

    @classmethod
    def of(cls, folder: Path) -> NodeNetwork:
        """The network of the cloud kept in ``folder``: the one noted there, else a free one that is noted now.

        Raises SetupError if the host uses all of 10.77.0.0 to 10.99.255.255.
        """
        note = folder / "network.json"
        if note.exists():
            kept = json.loads(note.read_text())
            return cls(bridge=kept["bridge"], subnet=IPv4Network(kept["subnet"]))
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
        network = cls(bridge=f"burst{digest[:6]}", subnet=free_subnet(_in_use(), start=int(digest[6:12], 16)))
        temporary = note.with_suffix(".new")
        temporary.write_text(json.dumps({"bridge": network.bridge, "subnet": str(network.subnet)}))
        temporary.replace(note)
        return network

    @property
    def gateway(self) -> IPv4Address:
        """This host's address on the bridge."""
        return self.subnet[1]

    def address(self, name: str, taken: Collection[IPv4Address]) -> IPv4Address:
        """An address for node ``name``: most often the one it had before.

        Raises SetupError when all are taken.
        """
        size = self.subnet.num_addresses - _RESERVED - 1
        first = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
        for step in range(size):
            candidate = self.subnet[_RESERVED + (first + step) % size]
            if candidate not in taken:
                return candidate
        raise SetupError(f"the node network {self.subnet} is full", hint="end some nodes first")

    def interface(self, address: IPv4Address) -> str:
        """The systemd.network(5) file of a node with this address; there is no way out, so no gateway in it."""
        return _INTERFACE.format(mac=hardware_address(address), address=address, prefix=_PREFIX)

    def up(self) -> None:
        """Make the bridge, unless it is there. Raises SetupError with ip's own words."""
        if not self.is_up:
            _ip("link", "add", "name", self.bridge, "address", hardware_address(self.gateway), "type", "bridge")
        _ip("link", "set", "dev", self.bridge, "addrgenmode", "none")
        _ip("address", "replace", f"{self.gateway}/{_PREFIX}", "dev", self.bridge)
        _ip("link", "set", "dev", self.bridge, "up")

    def down(self) -> None:
        """Remove the bridge, if it is there."""
        if self.is_up:
            _ip("link", "delete", "dev", self.bridge)

    def plug(self, tap: str) -> None:
        """Make a virtual machine's end of a cable (tap), unless it is there, and put it into the bridge."""
        if not Path("/sys/class/net", tap).exists():
            _ip("tuntap", "add", "dev", tap, "mode", "tap")
        _ip("link", "set", "dev", tap, "master", self.bridge, "up")

    @property
    def cables(self) -> tuple[str, ...]:
        """The interfaces in the bridge."""
        return tuple(path.name for path in Path("/sys/class/net", self.bridge, "brif").glob("*"))

    def unplug(self, interface: str) -> None:
        """Remove a node's end of its cable by name or alternative name; one that is gone is no error."""
        subprocess.run(["ip", "link", "delete", "dev", interface], capture_output=True, check=False)

    @property
    def is_up(self) -> bool:
        """Whether the bridge exists."""
        return Path("/sys/class/net", self.bridge).exists()


def free_subnet(in_use: Iterable[IPv4Network], *, start: int) -> IPv4Network:
    """The first /22 of the pool, counted from the ``start``-th on, that overlaps nothing in use.

    Two clouds that look at the same time differ in ``start``, so they do not choose the same.
    """
    candidates = [subnet for block in _POOL for subnet in block.subnets(new_prefix=_PREFIX)]
    narrow = [network for network in in_use if network.prefixlen >= _WIDE]
    for step in range(len(candidates)):
        candidate = candidates[(start + step) % len(candidates)]
        if not any(candidate.overlaps(network) for network in narrow):
            return candidate
    raise SetupError(
        "no address range is free for the node network",
        hint=f'free one /{_PREFIX} between {_POOL[0][0]} and {_POOL[-1][-1]}, or set nodes = "process"',
    )


def hardware_address(address: IPv4Address) -> str:
    """The locally administered MAC (IEEE 802, second bit of the first byte) that belongs to an address."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0xB5, *address.packed))


def _in_use() -> list[IPv4Network]:
    routes = [route["dst"] for route in _ip_json("route", "show", "table", "all")]
    entries = [entry for link in _ip_json("address", "show") for entry in link.get("addr_info", ())]
    addresses = [f"{entry['local']}/{entry['prefixlen']}" for entry in entries]
    return [IPv4Network(each, strict=False) for each in (*routes, *addresses) if each != "default"]


def _ip_json(*arguments: str) -> list[dict[str, Any]]:
    out = _ip("-json", "-4", *arguments)
    parsed: list[dict[str, Any]] = json.loads(out or "[]")
    return parsed


def _ip(*arguments: str) -> str:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SetupError("ip is not installed", hint="run: apt-get install iproute2") from None
    if done.returncode != 0:
        raise SetupError(
            f"the node network cannot be set up: ip {' '.join(arguments)}: {done.stderr.strip()}",
            hint='run as root with the right to change the network, or set nodes = "process"',
        )
    return done.stdout
