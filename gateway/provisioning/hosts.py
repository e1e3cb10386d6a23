"""Bare metal: hosts that are already there, as a node provider."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.errors import SetupError
from gateway.host_settings import HostSettings, PowerSettings
from gateway.provisioning.host_driver import HostDriver
from gateway.provisioning.host_errands import HostErrands, Patience
from gateway.provisioning.host_notes import HostNotes
from gateway.provisioning.host_power import HostPower, NoPower
from gateway.provisioning.host_sessions import Host, HostSessions
from gateway.provisioning.ipmi import Ipmi
from gateway.provisioning.libcloud_provider import DIALECTS, LibcloudProvider
from gateway.provisioning.node import Size
from gateway.provisioning.redfish import Redfish
from gateway.provisioning.wake_on_lan import WakeOnLan, magic_packet
from gateway.ssh.authority import Authority
from gateway.ssh.session import Door, check_pin


class HostProvider(LibcloudProvider):
    """The nodes of hosts, and what is known of the hosts themselves."""

    def __init__(self, name: str, errands: HostErrands, sizes: Sequence[Size], owner: str) -> None:
        def driver() -> HostDriver:
            return HostDriver(name, errands=errands, sizes=sizes, owner=self.owner)

        self.errands = errands
        self.owner = owner
        super().__init__(name, driver, sizes=tuple(sizes), dialect=DIALECTS["local"])


def open_hosts(
    name: str,
    hosts: Sequence[HostSettings],
    sizes: Sequence[Size],
    *,
    authority: Authority,
    folder: Path,
    secret: Mapping[str, str] | None = None,
    patience: Patience | None = None,
) -> HostProvider:
    """A provider called ``name``; ``folder`` is for its notes. Nothing is connected to before the first call.

    ``secret``: "user" and "password" of the controllers, or "HOST.user" and "HOST.password" of one.
    Two gateways may share hosts: each sees and ends only what it leased itself. Raises SetupError for a host whose size
    or pinned key is none, and for two of one name.
    """
    offered = {size.name: size for size in sizes}
    for host in hosts:
        if host.size not in offered:
            raise SetupError(
                f"{name}: host {host.name} is of size {host.size}, which is none", hint=f"sizes: {', '.join(offered)}"
            )
    if len({host.name for host in hosts}) < len(hosts):
        raise SetupError(f"{name}: two hosts have one name", hint="give each a name of its own")
    inventory = [_host(host, secret or {}) for host in hosts]
    for each in inventory:
        check_pin(each.door)
    errands = HostErrands(HostSessions(inventory, authority), HostNotes(folder), offered, patience or Patience())
    owner = hashlib.sha256(authority.public_line.encode()).hexdigest()[:16]
    return HostProvider(name, errands, sizes, owner)


def logins_needed(hosts: Sequence[HostSettings]) -> tuple[str, ...]:
    """The keys of a credential file that has a login of its own for every controller; () if none asks for one."""
    asking = (host.name for host in hosts if host.power is not None and host.power.has_login)
    return tuple(f"{name}.{what}" for name in asking for what in ("user", "password"))


def _host(host: HostSettings, secret: Mapping[str, str]) -> Host:
    door = Door(host.address, host.user, host.host_key, host.port, sudo=host.user != "root")
    user, password = (secret.get(f"{host.name}.{what}", secret.get(what, "")) for what in ("user", "password"))
    power = NoPower() if host.power is None else _power(host.power, user, password)
    return Host(host.name, host.size, door, power, host.boot_s, host.switch_off == "woken")


def _power(power: PowerSettings, user: str, password: str) -> HostPower:
    match power.kind:
        case "redfish":
            ca_file = str(power.ca_file) if power.ca_file else None
            url = str(power.url).rstrip("/")
            return Redfish(url, user, password, power.system, power.verify, ca_file, power.sessions)
        case "ipmi":
            return Ipmi(str(power.address), user, password, power.port or 623, power.cipher)
        case "wol":
            magic_packet(str(power.mac))  # what is no address is said now
            return WakeOnLan(str(power.mac), power.address or "255.255.255.255", power.port or 9)
