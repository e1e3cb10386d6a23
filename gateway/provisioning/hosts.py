"""Bare metal: hosts that are already there, as a node provider."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import SetupError
from gateway.provisioning.host_driver import HostDriver
from gateway.provisioning.host_sessions import Host, HostSessions
from gateway.provisioning.libcloud_provider import DIALECTS, LibcloudProvider
from gateway.provisioning.node import Size
from gateway.settings import HostSettings
from gateway.ssh.authority import Authority
from gateway.ssh.session import Door, check_pin


def open_hosts(
    name: str, hosts: Sequence[HostSettings], sizes: Sequence[Size], *, authority: Authority, folder: Path
) -> LibcloudProvider:
    """A provider called ``name``; ``folder`` is for its notes. Nothing is connected to before the first call.

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
    inventory = [_host(host) for host in hosts]
    for each in inventory:
        check_pin(each.door)
    sessions = HostSessions(inventory, authority)
    owner = hashlib.sha256(authority.public_line.encode()).hexdigest()[:16]

    def driver() -> HostDriver:
        return HostDriver(folder, sessions=sessions, sizes=sizes, owner=owner)

    return LibcloudProvider(name, driver, sizes=tuple(sizes), dialect=DIALECTS["local"])


def _host(host: HostSettings) -> Host:
    door = Door(host.address, host.user, host.host_key, host.port, sudo=host.user != "root")
    return Host(host.name, host.size, door)
