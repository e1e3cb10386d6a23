"""Hosts that are there before any gateway: system containers of the project's own image with a plain sshd.

Invariant: they run Debian's own systemd and sshd; all that they know of a gateway is the authority that sshd trusts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.errors import SshError
from gateway.host_settings import HostSettings
from gateway.provisioning.local_cloud import LocalCloud
from gateway.settings import Settings, SizeSettings
from gateway.ssh.authority import Authority
from gateway.ssh.session import Door, Session, connect

BOOT_S = 90
_SIZE = "metal"

_FILES = r"""
look() {
  find / -xdev \( -path /proc -o -path /sys -o -path /var/log/journal \) -prune -o -printf '%p %y %U:%G %m\n'
  find /run /dev/shm -name '*burst*' -o -name '*munge*' -o -name '*slurm*'
  ps -eo user,comm | grep -E 'munge|slurm|node_agent' || :
}
# sudo(8) notes a user's first time in the user's home.
[ -e /run/before ] || su debian -c 'sudo -n true'
[ -e /run/before ] || look | sort > /run/before
look | sort | comm -3 /run/before - | tr -d '\t'
"""


@dataclass(frozen=True)
class Metal:
    """A host that runs."""

    name: str
    address: str
    host_key: str
    cloud: LocalCloud

    @property
    def door(self) -> Door:
        return Door(self.address, "root", self.host_key)

    def settings(self, size: str) -> HostSettings:
        """As an administrator would write it down."""
        return HostSettings(name=self.name, address=self.address, host_key=self.host_key, size=size)

    def login(self, authority: Authority) -> Session:
        """A session as root."""
        return connect(self.door, authority.identity("root", "test", datetime.now(UTC)))

    def changes(self, authority: Authority) -> list[str]:
        """Files, owners, modes and processes of munge and Slurm that are not as they were at the first call."""
        with self.login(authority) as session:
            done = session.run(("sh", "-c", _FILES))
        assert done.code == 0, done.complaint
        return done.text.splitlines()

    def halt(self) -> None:
        """Pull the plug."""
        (node,) = (node for node in self.cloud.driver().list_nodes() if node.name == self.name)
        self.cloud.driver().destroy_node(node)


@contextmanager
def metal_in(directory: Path, cache: Path, names: list[str], trusted: str) -> Iterator[list[Metal]]:
    """Hosts of these names, up for as long as the block lasts. ``trusted``: the authority's public line."""
    size = SizeSettings(name=_SIZE, cores=1, memory_mb=512, credits_per_hour=1, max_nodes=len(names))
    cloud = LocalCloud.open(Settings(directory=directory, cache=cache, nodes="container", sizes=(size,)))
    try:
        yield [_boot(name, cloud, trusted) for name in names]
    finally:
        cloud.teardown()


def wait_for_login(hosts: list[Metal], authority: Authority) -> None:
    """Until sshd lets in and the system has finished booting."""
    deadline = time.monotonic() + BOOT_S
    for host in hosts:
        while not _up(host, authority):
            assert time.monotonic() < deadline, f"{host.name} is not up after {BOOT_S} s"
            time.sleep(0.2)


def _boot(name: str, cloud: LocalCloud, trusted: str) -> Metal:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    trust = "TrustedUserCAKeys /etc/ssh/burst-ca.pub\n"
    installed = {
        "ssh_keys": {"ed25519_private": private, "ed25519_public": public},
        "write_files": [
            {"path": "/etc/ssh/burst-ca.pub", "content": f"{trusted}\n"},
            {"path": "/etc/ssh/sshd_config.d/burst.conf", "content": trust},
        ],
    }
    driver = cloud.driver()
    node = driver.create_node(name, driver.list_sizes()[0], ex_userdata=f"#cloud-config\n{json.dumps(installed)}")
    return Metal(name, node.private_ips[0], public, cloud)


def _up(host: Metal, authority: Authority) -> bool:
    try:
        with host.login(authority) as session:
            return "status: done" in session.run(("cloud-init", "status", "--wait")).text
    except SshError:
        return False
