"""Hosts that are there before any gateway: system containers of the project's own image with a plain sshd.

Invariant: they run Debian's own systemd and sshd; all that they know of a gateway is the authority that sshd trusts.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bmc import Outlet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.errors import SshError
from gateway.host_settings import HostSettings
from gateway.provisioning.instance import Instance, Instances
from gateway.provisioning.local_cloud import LocalCloud
from gateway.provisioning.node_host import Life
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

    def settings(self, size: str, **more: object) -> HostSettings:
        """As an administrator would write it down."""
        facts = {"name": self.name, "address": self.address, "host_key": self.host_key, "size": size}
        return HostSettings.model_validate(facts | more)

    def login(self, authority: Authority) -> Session:
        """A session as root."""
        return connect(self.door, authority.identity("root", "test", datetime.now(UTC)))

    def changes(self, authority: Authority) -> list[str]:
        """Files, owners, modes and processes of munge and Slurm that are not as they were at the first call."""
        with self.login(authority) as session:
            done = session.run(("sh", "-c", _FILES))
        assert done.code == 0, done.complaint
        return done.text.splitlines()

    @property
    def on(self) -> bool:
        """Whether it has power: whether its processes are there."""
        return self.cloud.host.life(self._instance) in {Life.STARTING, Life.RUNNING}

    def switch_on(self) -> None:
        """It boots with the files that it had."""
        instance = self._instance
        self.cloud.host.kill(instance)
        self.cloud.host.start(instance)

    def shut_down(self) -> None:
        """Press its power button: systemd of a container hears it as a signal (systemd(1), SIGRTMIN+4)."""
        pid = int((self._instance.folder / "machine.pid").read_text().split()[0])
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGRTMIN + 4)

    def cut(self) -> None:
        """Take the power away."""
        self.cloud.host.kill(self._instance)

    @property
    def _instance(self) -> Instance:
        return next(each for each in Instances(self.cloud.settings.cloud_dir) if each.name == self.name)

    def halt(self) -> None:
        """Pull the plug."""
        (node,) = (node for node in self.cloud.driver().list_nodes() if node.name == self.name)
        self.cloud.driver().destroy_node(node)


@dataclass
class MetalOutlet(Outlet):
    """A host's plug, as its controller sees it: whether it is on is the host's own matter."""

    metal: Metal = None  # type: ignore[assignment]
    deaf: bool = False
    """The system does not hear its power button."""
    dead: bool = False
    """It gets power and does not boot."""

    def __post_init__(self) -> None:
        self._lit = False

    def is_on(self) -> bool:
        return self._lit if self.dead else self.metal.on

    def switch(self, *, on: bool, word: str) -> None:
        self.asked.append(word)
        if self.dead:
            self._lit = on
        if self.stuck or self.dead or on == self.metal.on:
            return
        if on:
            self.metal.switch_on()
        elif word.startswith("Graceful"):
            if not self.deaf:
                self.metal.shut_down()
        else:
            self.metal.cut()


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
