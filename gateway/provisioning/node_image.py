"""NodeImage: the root file system that every container node starts from, or disk and kernel of every virtual machine.

Invariant: a folder under its final name is complete; its name changes with everything that goes into it, so an
image is never edited and two gateways may share one cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import SetupError

Progress = Callable[[str], None]
"""Called with one sentence at each step of a build."""

BASE_PACKAGES = (
    "ca-certificates",
    "cloud-init",
    "dbus",
    "iproute2",
    "libpmix2t64",  # srun --mpi=pmix
    "munge",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "slurm-client",
    "slurm-wlm-basic-plugins",
    "slurmd",
    "sudo",
    "systemd-sysv",
    "udev",
)
"""What makes a Debian root file system a node; slurmd and munge are started by the node's agent, not at boot."""

_FILES = {
    "etc/cloud/cloud.cfg.d/90_dpkg.cfg": "datasource_list: [ NoCloud, None ]\n",
    # The host writes the address; without the locales package cloud-init would end in an error (cc_locale).
    "etc/cloud/cloud.cfg.d/95_burst.cfg": (
        "network: {config: disabled}\n"
        "locale: false\n"
        "manage_etc_hosts: false\n"
        "ssh_genkeytypes: [ed25519]\n"
        "apt: {preserve_sources_list: true}\n"
    ),
    "etc/hostname": "localhost\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/resolv.conf": "options timeout:1 attempts:1\n",
    "etc/fstab": "",
    "etc/machine-id": "",
    "etc/systemd/system/systemd-networkd-wait-online.service.d/any.conf": (
        "[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=30\n"
    ),
}
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "ldconfig.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-journal-catalog-update.service",
    "systemd-logind.service",
    "systemd-pstore.service",
    "systemd-resolved.service",
    "systemd-update-done.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
)
_LINKS = {
    **{f"etc/systemd/system/{unit}": "/dev/null" for unit in _MASKED},
    # With /run/nologin a node would refuse logins until systemd has finished booting.
    "etc/tmpfiles.d/systemd-nologin.conf": "/dev/null",
}
_REMOVED = (
    "etc/ssh/ssh_host_*",
    "etc/munge/munge.key",
    "var/lib/dbus/machine-id",
    "var/cache/apt/*.bin",
    "var/lib/apt/lists/*_*",
)
_ENABLED = ("systemd-networkd", "ssh")
_DISABLED = ("munge", "slurmd")
"""The node's agent starts them, once it has the cluster's key."""
_OPTIONS = (
    "--variant=minbase",
    "--mode=root",
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
)


KERNEL_PACKAGES = ("e2fsprogs", "initramfs-tools", "kmod", "linux-image-cloud-amd64", "lz4")
"""What a machine with a kernel of its own needs besides."""

_KERNEL_OPTIONS = (
    # Before the kernel is installed, which makes its initrd: only what it takes to mount the root file system.
    "--essential-hook=mkdir -p $1/etc/initramfs-tools/conf.d",
    "--essential-hook=printf 'MODULES=list\\nCOMPRESS=lz4\\n' > $1/etc/initramfs-tools/conf.d/burst",
    "--essential-hook=printf 'virtio_pci\\nvirtio_blk\\next4\\ncrc32c\\n' > $1/etc/initramfs-tools/modules",
)
_KERNEL_FILES = {
    "etc/cloud/cloud.cfg.d/95_burst.cfg": _FILES["etc/cloud/cloud.cfg.d/95_burst.cfg"].replace(
        "manage_etc_hosts: false", "manage_etc_hosts: true"
    ),
    "etc/fstab": "LABEL=root / ext4 defaults,noatime 0 1\n",
}
_KERNEL_MASKED = (
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-networkd-persistent-storage.service",
    "systemd-random-seed.service",
)
_DISK_MB = 2048
"""What a machine may write beside what is in its image."""


@dataclass(frozen=True)
class NodeImage:
    """A Debian ``suite`` with ``packages`` on top of `BASE_PACKAGES`, kept below ``cache``.

    ``kernel``: with a kernel of its own and as a disk, for machines that really boot.
    """

    cache: Path
    suite: str
    packages: tuple[str, ...] = ()
    kernel: bool = False

    @property
    def path(self) -> Path:
        """The root file system; there only once it is complete."""
        return self.cache / f"image-{self.suite}-{self._digest()}" / "rootfs"

    @property
    def disk(self) -> Path:
        """An ext4 file system of it, labelled "root"; only with ``kernel``. Never written to: put an overlay on it."""
        return self.path.parent / "disk.raw"

    @property
    def boot(self) -> tuple[Path, Path]:
        """Its kernel and initrd; only with ``kernel``."""
        (kernel,), (initrd,) = (sorted((self.path / "boot").glob(name)) for name in ("vmlinuz-*", "initrd.img-*"))
        return kernel, initrd

    @property
    def ready(self) -> bool:
        """Whether it has been built."""
        return self.path.is_dir()

    def build(self, progress: Progress = lambda _: None) -> Path:
        """Build it unless it is there, and return `path`; a second builder waits for the first.

        Raises SetupError without root, without mmdebstrap, or with mmdebstrap's last words.
        """
        if self.ready:
            return self.path
        _require_tools()
        self.cache.mkdir(parents=True, exist_ok=True)
        with _only_one(self.cache / f".{self.path.parent.name}.lock"):
            if not self.ready:
                self._assemble(progress)
        return self.path

    def _assemble(self, progress: Progress) -> None:
        final = self.path.parent
        for leftover in self.cache.glob(f".{final.name}.*.part"):
            shutil.rmtree(leftover)
        building = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=self.cache))
        root = building / "rootfs"
        progress(f"building the node image, Debian {self.suite}: once, about a minute and a half")
        options = (*_OPTIONS, *(_KERNEL_OPTIONS if self.kernel else ()))
        _run_mmdebstrap([*options, f"--include={','.join(self._include())}", self.suite, str(root)], progress)
        _tune(root)
        if self.kernel:
            _tune_for_kernel(root)
            progress("making the disk of virtual machines")
            _make_disk(root, building / "disk.raw")
        building.chmod(0o755)
        os.sync()
        building.rename(final)
        progress(f"the node image is ready: {final}")

    def _include(self) -> tuple[str, ...]:
        return tuple(sorted({*BASE_PACKAGES, *self.packages, *(KERNEL_PACKAGES if self.kernel else ())}))

    def _digest(self) -> str:
        recipe: tuple[object, ...] = (
            self._include(),
            _OPTIONS,
            sorted(_FILES.items()),
            sorted(_LINKS.items()),
            _REMOVED,
            _ENABLED,
            _DISABLED,
        )
        if self.kernel:
            recipe += (_KERNEL_OPTIONS, sorted(_KERNEL_FILES.items()), _KERNEL_MASKED, _DISK_MB)
        return hashlib.sha256(repr(recipe).encode()).hexdigest()[:10]


def apt_sources(suite: str) -> str:
    """One-line apt sources for ``suite`` from the archives that this machine itself uses (sources.list(5)).

    Raises SetupError if apt names no Debian archive.
    """
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(SITE)|$(COMPONENT)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return sources_from(listed, suite)


def sources_from(listed: str, suite: str) -> str:
    """The sources of ``suite``, given lines ``origin|release|site|component`` of apt-get's indextargets.

    Raises SetupError if none of them is a Debian archive.
    """
    lines = []
    for row in sorted(set(listed.splitlines())):
        origin, release, site, component = row.split("|")
        if origin != "Debian" or component != "main":
            continue
        _, dash, pocket = release.partition("-")
        lines.append(f"deb {site} {suite}{dash}{pocket} main")
    if not lines:
        raise SetupError(
            "apt knows no Debian archive", hint="add one to /etc/apt/sources.list.d and run: apt-get update"
        )
    return "\n".join(lines) + "\n"


def put(path: Path, text: str) -> None:
    """Write a file of a node's system that all its users may read, whatever this process's umask is."""
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o644)


def _require_tools() -> None:
    if os.geteuid() != 0:
        raise SetupError("only root can build the node image", hint='run as root, or set nodes = "process"')
    if shutil.which("mmdebstrap") is None:
        raise SetupError("mmdebstrap is not installed", hint="run: apt-get install mmdebstrap systemd-container")


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _run_mmdebstrap(arguments: list[str], progress: Progress) -> None:
    suite = arguments[-2]
    # Python's byte code is made now, once, and not at each boot of each node.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        ["mmdebstrap", *arguments, "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment,
        umask=0o022,
        text=True,
        errors="replace",
    )
    assert process.stdin is not None  # noqa: S101 - it was asked for
    assert process.stderr is not None  # noqa: S101
    process.stdin.write(apt_sources(suite))
    process.stdin.close()
    said = []
    for line in process.stderr:
        said.append(line.strip())
        if line.startswith("I: "):
            progress(line[3:].strip())
    if process.wait() != 0:
        raise SetupError(
            f"the node image could not be built: {' | '.join(said[-3:])}",
            hint="check the network and the apt sources, then try again; nothing half-made is kept",
        )


def _tune(root: Path) -> None:
    for pattern in _REMOVED:
        for path in root.glob(pattern):
            path.unlink()
    for name, text in _FILES.items():
        put(root / name, text)
    for name, target in _LINKS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    _in(root, "systemctl", "--quiet", "enable", *_ENABLED)
    _in(root, "systemctl", "--quiet", "disable", *_DISABLED)
    _in(root, "passwd", "--quiet", "--lock", "root")


def _tune_for_kernel(root: Path) -> None:
    for name, text in _KERNEL_FILES.items():
        put(root / name, text)
    for unit in _KERNEL_MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    # A machine gets its address from its kernel's command line (systemd-network-generator.service(8)).
    _in(root, "systemctl", "--quiet", "enable", "systemd-network-generator")


def _make_disk(root: Path, disk: Path) -> None:
    """As one file system without partitions: the kernel is given to qemu directly."""
    size = subprocess.run(["du", "-sm", str(root)], capture_output=True, text=True, check=True).stdout.split()[0]
    with disk.open("wb") as file:
        file.truncate((int(size) + _DISK_MB) << 20)
    extended = "lazy_itable_init=1,lazy_journal_init=1"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "0", "-E", extended, "-d", str(root), str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"the disk of virtual machines could not be made: {done.stderr.strip()}")


def _in(root: Path, *command: str) -> None:
    subprocess.run(["chroot", str(root), *command], check=True, capture_output=True)
