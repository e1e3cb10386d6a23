"""ContainerHost: nodes as system containers (systemd-nspawn(1)) with their own systemd, on a bridge of their own.

Invariant: all that a node has in the kernel (processes, mounts, network, devices) hangs on its control groups and on
namespaces that only its processes hold, so killing what is in the groups frees everything.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import ClassVar

from gateway.daemons import Daemon
from gateway.errors import SetupError
from gateway.provisioning.bridged import Bridged
from gateway.provisioning.cgroups import NodeGroup, hierarchies
from gateway.provisioning.instance import Instance
from gateway.provisioning.node_host import Life
from gateway.provisioning.node_image import Progress, put

_INOTIFY = {"max_user_instances": 8192, "max_user_watches": 524288}
"""Linux's default of 128 instances is used up by about 15 systemds."""

_LAUNCH = """\
set -eu
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done
shift
echo "$$ $(cut -d' ' -f22 /proc/$$/stat)" > machine.pid.own
mv machine.pid.own machine.pid
test -e node.json -a ! -e ending
mount -t overlay overlay -o lowerdir=image,upperdir=upper,workdir=work root
grep -qx '[0-9a-f]\\{32\\}' /etc/machine-id || mount --bind ../.machine-id /etc/machine-id
if [ -d /run/systemd ]; then mkdir -p /run/systemd/nspawn; mount -t tmpfs tmpfs /run/systemd/nspawn
else mount -t tmpfs -o mode=755 tmpfs /run; fi
exec "$@"
"""
"""Runs in the machine's folder, in a mount namespace of its own; relative names need no quoting in mount options.

Once it is in the groups it is killed with them; if its machine's end began before that, it sees so and goes no further.
systemd-nspawn derives hardware addresses from machine-id(5); a computer that was never booted has an empty one.
What it notes in /run, and cannot take back when it is killed, goes with the namespace.
"""

_TRY = """\
set -eu
mkdir lower upper work root
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root
"""
_NODE_HOSTS = "/var/lib/burst-cloud"
_NSPAWN_NOTES = Path("/run/systemd/nspawn")


@dataclass(frozen=True)
class ContainerHost(Bridged):
    """Containers below ``folder``, made from ``image``."""

    form: ClassVar[str] = "container"

    def prepare(self, progress: Progress) -> None:
        """Try what containers need, build the image if it is not there, bring the bridge up. Raises SetupError."""
        self.require()
        self.image.build(progress)
        self.network.up()
        if not (self.folder / ".machine-id").exists():
            put(self.folder / ".machine-id", f"{uuid.uuid4().hex}\n")
        _raise_inotify()

    def furnish(self, instance: Instance, taken: Collection[IPv4Address]) -> Instance:
        """The overlay's upper layer: name, address and interface, as a cloud's metadata service would give them."""
        address = self.network.address(instance.name, taken)
        for name in ("upper", "work", "root"):
            (instance.folder / name).mkdir()
            (instance.folder / name).chmod(0o755)
        (instance.folder / "image").symlink_to(self.image.path)
        upper = instance.folder / "upper"
        put(upper / "etc/hostname", f"{instance.name}\n")
        put(upper / "etc/systemd/network/10-host0.network", self.network.interface(address))
        (upper / "etc/hosts").symlink_to(f"..{_NODE_HOSTS}/hosts")
        return replace(instance, address=str(address))

    def start(self, instance: Instance) -> None:
        """Boot it; a machine that ran before boots again with the files it had."""
        group = self._group(instance)
        group.create(memory_mb=instance.size.memory_mb, cores=instance.size.cores)
        groups = map(str, group.paths)
        command = ("unshare", "--mount", "--propagation", "slave", "sh", "-c", _LAUNCH, "node", *groups, "--")
        try:
            _daemon(instance).start([*command, *self._nspawn(instance)], cwd=instance.folder)
        except SetupError:
            return  # it ended at once: `life` says so, and its console why

    def life(self, instance: Instance) -> Life:
        """RUNNING once its first process is there."""
        daemon = _daemon(instance)
        if (pid := daemon.pid()) is not None:
            return Life.RUNNING if _children(pid) else Life.STARTING
        if not daemon.pid_file.exists():
            return Life.UNBORN
        if self._group(instance).pids():
            return Life.RUNNING  # systemd-nspawn was killed, and a container does not end with it
        # systemd writes the machine id of a new machine as one of its first acts.
        return Life.OVER if (instance.folder / "upper/etc/machine-id").exists() else Life.FAILED

    def kill(self, instance: Instance) -> bool:
        """Kill everything in its groups and remove them; also what was just started and is not in them yet."""
        daemon = _daemon(instance)
        if (pid := daemon.pid()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended = self._group(instance).end()
        daemon.collect()
        # The kernel takes down a dead container's network when it gets to it; the next one of this name is quicker.
        self.network.unplug(f"vb-{self._machine(instance)}")
        return ended

    def publish(self, instances: Collection[Instance]) -> None:
        """Write the hosts(5) file that all nodes see."""
        lines = ["127.0.0.1 localhost", f"{self.address} {socket.gethostname()} gateway"]
        lines += [f"{instance.address} {instance.name}" for instance in instances]
        draft = self.folder / ".hosts" / "hosts.new"
        put(draft, "\n".join(lines) + "\n")
        draft.replace(draft.with_suffix(""))

    def teardown(self) -> None:
        """Remove the bridge, and the folder of systemd-nspawn's notes where no systemd of this host has made it."""
        self.network.down()
        for folder in (_NSPAWN_NOTES, _NSPAWN_NOTES.parent):
            with suppress(OSError):
                folder.rmdir()

    def require(self) -> None:
        """Try what containers need. Raises SetupError."""
        hint = 'run as root on a computer that allows containers, or set nodes = "process"'
        if os.geteuid() != 0:
            raise SetupError("only root can start containers", hint=hint)
        if shutil.which("systemd-nspawn") is None:
            raise SetupError(
                "systemd-nspawn is not installed", hint="run: apt-get install systemd-container mmdebstrap"
            )
        if not Path("/etc/machine-id").exists():
            raise SetupError("this computer has no /etc/machine-id", hint="run: systemd-machine-id-setup")
        if not hierarchies() or not all(os.access(path, os.W_OK) for path in hierarchies()):
            raise SetupError("the control groups of this computer are not writable", hint=hint)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".try.", dir=self.folder) as scratch:
            tried = subprocess.run(
                ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", _TRY],
                cwd=scratch,
                capture_output=True,
                text=True,
                check=False,
            )
        if tried.returncode != 0:
            raise SetupError(f"this computer refuses containers: {tried.stderr.strip()}", hint=hint)

    def _nspawn(self, instance: Instance) -> list[str]:
        return [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            # One host may run two clouds that both have a node of this name.
            f"--machine={self._machine(instance)}",
            f"--hostname={instance.name}",
            # No systemd of the host takes part: the groups are ours on every kind of host.
            "--register=no",
            "--keep-unit",
            f"--network-bridge={self.network.bridge}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            f"--directory={instance.folder / 'root'}",
            f"--bind-ro={_escaped(instance.folder / 'seed')}:/var/lib/cloud/seed/nocloud",
            f"--bind-ro={_escaped(self.folder / '.hosts')}:{_NODE_HOSTS}",
        ]

    def _machine(self, instance: Instance) -> str:
        return f"{self.network.bridge}-{instance.name}"

    def _group(self, instance: Instance) -> NodeGroup:
        return NodeGroup(cloud=self.network.bridge, node=instance.name)


def _daemon(instance: Instance) -> Daemon:
    return Daemon(name="machine", run=instance.folder, log=instance.console)


def _children(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().strip())
    except OSError:
        return False


def _raise_inotify() -> None:
    for name, wanted in _INOTIFY.items():
        setting = Path("/proc/sys/fs/inotify", name)
        if int(setting.read_text()) < wanted:
            setting.write_text(str(wanted))


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:")
