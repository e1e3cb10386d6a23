"""VmHost: nodes as virtual machines with a kernel of their own (qemu(1)), on a bridge of their own.

Invariant: a machine is one qemu process, one disk overlay and one tap interface named for its address; what is shared,
the bridge, is there as long as any machine is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import uuid
from base64 import b64encode
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import ClassVar

from gateway.daemons import Daemon
from gateway.errors import SetupError
from gateway.provisioning import seed
from gateway.provisioning.bridged import Bridged
from gateway.provisioning.instance import Instance
from gateway.provisioning.network import hardware_address
from gateway.provisioning.node_host import Life
from gateway.provisioning.node_image import Progress
from gateway.provisioning.smbios import system_information

_PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mke2fs": "e2fsprogs"}
_TRANSLATED = ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max")
_VIRTUALISED = ("-accel", "kvm", "-cpu", "host")
_KERNEL = (
    "root=LABEL=root rw console=ttyS0 quiet mitigations=off systemd.show_status=0 "
    # On a busy computer a translated processor may stand still for seconds; that is no fault of the machine.
    "no_timer_check nosoftlockup rcupdate.rcu_cpu_stall_suppress=1"
)
_INTERFACE = """\
[Match]
Type=ether
[Network]
Address={address}/{length}
Gateway={gateway}
DHCP=no
IPv6AcceptRA=no
LinkLocalAddressing=no
"""
"""systemd.network(5)."""
_LEAST_CORES = 2
"""One core would boot half as fast where every instruction is translated."""


@dataclass(frozen=True)
class VmHost(Bridged):
    """Machines below ``folder``, made from ``image``, which has a kernel."""

    form: ClassVar[str] = "vm"

    def prepare(self, progress: Progress) -> None:
        """Build the image if it is not there. Raises SetupError."""
        self.require()
        self.image.build(progress)

    def require(self) -> None:
        """Try what virtual machines need. Raises SetupError."""
        if os.geteuid() != 0:
            raise SetupError("only root can connect virtual machines", hint="run as root")
        for program, package in _PROGRAMS.items():
            if shutil.which(program) is None:
                raise SetupError(f"{program} is not installed", hint=f"run: apt-get install {package}")
        if not Path("/dev/net/tun").exists():
            raise SetupError("this computer has no /dev/net/tun", hint="run: modprobe tun")

    def furnish(self, instance: Instance, taken: Collection[IPv4Address]) -> Instance:
        """Its overlay, and the unguessable address of its seed."""
        seed.make_address(instance)
        overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self.image.disk)]
        subprocess.run([*overlay, str(instance.folder / "disk.qcow2")], check=True, capture_output=True)
        return replace(instance, address=str(self.network.address(instance.name, taken)))

    def start(self, instance: Instance) -> None:
        """Power it on; a machine that ran before boots again with the disk it had."""
        daemon = _daemon(instance)
        try:
            serial = f"ds=nocloud;s={seed.url_of(instance)}"
            smbios = instance.folder / "smbios.bin"
            smbios.touch(mode=0o600)
            smbios.write_bytes(system_information(serial, uuid.uuid5(uuid.NAMESPACE_OID, instance.id)))
            with self._wiring():
                self.network.up()
                self.network.plug(self._tap(instance))
            daemon.start(self._command(instance), cwd=instance.folder)
        except (ValueError, SetupError) as error:
            instance.complain(error)
            daemon.pid_file.touch()

    def life(self, instance: Instance) -> Life:
        """RUNNING as long as qemu is: what goes on inside, only the node itself can tell."""
        daemon = _daemon(instance)
        if daemon.alive():
            return Life.RUNNING
        if not daemon.pid_file.exists():
            return Life.UNBORN
        return Life.OVER if daemon.pid_file.stat().st_size else Life.FAILED

    def kill(self, instance: Instance) -> bool:
        """Pull the plug, and its cable; with the last machine goes the bridge."""
        daemon = _daemon(instance)
        if (pid := daemon.pid()) is not None:
            os.kill(pid, signal.SIGKILL)
        daemon.stop(how=signal.SIGKILL)
        with self._wiring():
            self.network.unplug(self._tap(instance))
            if not self.network.cables:
                self.network.down()
        return not daemon.alive()

    def publish(self, instances: Collection[Instance]) -> None:
        """Slurm tells nodes each other's addresses."""

    def teardown(self) -> None:
        """Nothing is left once the last machine is."""

    @contextmanager
    def _wiring(self) -> Iterator[None]:
        """Nobody else puts up or takes down the bridge meanwhile."""
        with (self.folder / ".wiring.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _tap(self, instance: Instance) -> str:
        """At most 15 characters, netdevice(7)."""
        return f"bv{self.network.bridge[-6:]}{IPv4Address(instance.address).packed[2:].hex()}"

    def _command(self, instance: Instance) -> list[str]:
        kernel, initrd = self.image.boot
        hardware = hardware_address(IPv4Address(instance.address))
        return [
            "qemu-system-x86_64",
            *("-name", f"{self.network.bridge}-{instance.name}", "-machine", "q35"),
            *(_VIRTUALISED if _can_virtualise() else _TRANSLATED),
            *("-m", str(instance.size.memory_mb), "-smp", str(max(instance.size.cores, _LEAST_CORES))),
            *("-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"),
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append", f"{_KERNEL} {self._way(instance)}"),
            *("-smbios", "file=smbios.bin"),
            *("-drive", "file=disk.qcow2,if=none,id=disk,cache=unsafe", "-device", "virtio-blk-pci,drive=disk"),
            *("-netdev", f"tap,id=net,ifname={self._tap(instance)},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=net,mac={hardware},romfile=", "-device", "virtio-rng-pci"),
        ]

    def _way(self, instance: Instance) -> str:
        """Its address and its way to this computer, as a credential for systemd-network-generator(8).

        Not as ``ip=``: the initrd would look for an interface that it has no driver for, for minutes.
        """
        address, length = instance.address, self.network.subnet.prefixlen
        unit = _INTERFACE.format(address=address, length=length, gateway=self.address)
        return f"systemd.set_credential_binary=network.network.10-node:{b64encode(unit.encode()).decode()}"


def _can_virtualise() -> bool:
    """Whether the processor helps; a /dev/kvm without that may open and still run no kernel."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return ("vmx" in flags or "svm" in flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def _daemon(instance: Instance) -> Daemon:
    return Daemon(name="machine", run=instance.folder, log=instance.console)
