"""Nothing is left: the demo, from an empty directory to its end, then this machine's processes, mounts, network, files.

The demo runs with a copy-on-write view of the machine's folders, so that what it writes there is known to be its own,
whatever else writes there meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from gateway_site import Site, shared_cache

from gateway.provisioning.cgroups import CGROUP_ROOT, NodeGroup

pytestmark = pytest.mark.root

WATCHED = "/etc /home /opt /root /run /srv /tmp /var"
"""Where a program that forgets to clean up would leave something."""
WITHIN_S = 270
_LOOK_S = 0.2

VIEW = r"""
set -eu
state=$1 written=$2; shift 2
kept=
while [ "$1" != -- ]; do kept="$kept $1"; shift; done; shift
mount -t tmpfs none "$state"
cd "$state"
for path in $kept; do mkdir -p "keep$path"; mount --bind "$path" "keep$path"; done
for folder in $WATCHED; do
    [ -d "$folder" ] && [ ! -L "$folder" ] || continue
    mkdir -p "upper$folder" "work$folder"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=upper$folder,workdir=work$folder" "$folder"
done
for path in $kept; do mount --bind "keep$path" "$path"; done
code=0
(cd /; exec "$@") || code=$?
find upper -mindepth 2 \( ! -type d -o -empty \) -printf '/%P\n' > "$written"
exit $code
"""
"""Runs a command on overlays of WATCHED; KEPT paths show through. What it left in the overlays goes to WRITTEN."""


@dataclass
class Demo:
    """What the demo said and showed while it ran."""

    base: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    code: int = -1
    machines: set[str] = field(default_factory=set)
    """Names that the cloud's driver listed at some time."""
    up: set[str] = field(default_factory=set)
    """Names that sinfo showed as not powered down at some time."""
    namespaces: dict[int, int] = field(default_factory=dict)
    """Network namespaces of the nodes: inode → a descriptor that keeps its number from being given to another."""
    url: str = ""

    @property
    def directory(self) -> Path:
        return self.base / "d"

    @property
    def bridge(self) -> str:
        return str(json.loads((self.directory / "cloud/network.json").read_text())["bridge"])

    def said(self, name: str) -> str:
        return (self.base / name).read_text()

    def watch(self) -> None:
        """Look once, with the driver, with sinfo, and at the nodes' processes."""
        site = Site(self.directory, shared_cache())
        with suppress(OSError, AssertionError, subprocess.TimeoutExpired):
            for node in site.list_nodes():
                self.machines.add(node.name)
                self._hold_namespaces(NodeGroup(self.bridge, node.name).pids())
            self.url = site.machine.url
            self.up |= site.nodes_up()

    def _hold_namespaces(self, pids: Iterable[int]) -> None:
        for pid in pids:
            if (inode := _namespace(pid)) and inode not in self.namespaces:
                self.namespaces[inode] = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)


@pytest.fixture(scope="module")
def demo(containers: None) -> Iterator[Demo]:
    """`burst demo` in an empty directory, with its own marked environment, and nothing else of ours in its folders."""
    with tempfile.TemporaryDirectory(prefix="burst-acc-") as base, tempfile.TemporaryDirectory() as state:
        Path(base).chmod(0o711)
        shown = Demo(Path(base))
        with _started(shown, Path(state)) as process:
            pause = threading.Event()
            while process.poll() is None:
                shown.watch()
                pause.wait(_LOOK_S)
        shown.code = process.returncode
        yield shown
        for descriptor in shown.namespaces.values():
            os.close(descriptor)


def test_the_demo_shows_a_right_result(demo: Demo) -> None:
    """It ends with 0 and says the answer, the files that it verified, and the receipts."""
    assert demo.code == 0, demo.said("err")
    said: dict[str, Any] = json.loads(demo.said("out"))
    assert "Madelung constant" in said["answer"]
    assert said["files"] > 0
    assert [job["state"] for job in said["jobs"]] == ["COMPLETED"]
    (receipt,) = said["receipts"]
    assert receipt["held_ucr"] == receipt["charged_ucr"] + receipt["refunded_ucr"]


def test_nodes_came(demo: Demo) -> None:
    """While it ran, the cloud's driver listed two machines, and sinfo showed the same two nodes up."""
    assert len(demo.machines) == 2
    assert demo.machines <= demo.up


def test_nodes_went(demo: Demo) -> None:
    """Its own account of them ends with none, and the driver lists none."""
    assert "no nodes are left" in demo.said("err")
    assert Site(demo.directory, shared_cache()).list_nodes() == []


def test_no_process_is_left(demo: Demo) -> None:
    """No process has its mark, its directory or its control groups."""
    assert [process.info for process in psutil.process_iter(["pid", "name", "cmdline"]) if _is_of(process, demo)] == []
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(demo.url)


def test_no_mount_is_left(demo: Demo) -> None:
    """In no process's mount table is anything of the directory, or of the bridge's name."""
    tables = {table for file in Path("/proc").glob("[0-9]*/mountinfo") if (table := _read(file))}
    left = [row for table in tables for row in table.splitlines() if f"{demo.base}/" in row or demo.bridge in row]
    assert left == []


def test_no_network_is_left(demo: Demo) -> None:
    """Neither the bridge, nor a cable to it, nor a node's network namespace."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert demo.bridge not in links
    assert len(demo.namespaces) == 2
    assert not set(demo.namespaces) & {_namespace(pid) for pid in psutil.pids()}
    assert not set(demo.namespaces) & {file.stat().st_ino for file in Path("/run/netns").glob("*")}


def test_no_control_group_is_left(demo: Demo) -> None:
    """In no hierarchy."""
    assert list(CGROUP_ROOT.glob(f"{demo.bridge}*")) + list(CGROUP_ROOT.glob(f"*/{demo.bridge}*")) == []


def test_no_file_is_left_outside(demo: Demo) -> None:
    """All that it wrote is in its directory; where it had written elsewhere, that is gone again."""
    assert demo.said("written").splitlines() == []


def _started(demo: Demo, state: Path) -> subprocess.Popen[bytes]:
    kept = [str(Path(__file__).resolve().parents[2]), str(shared_cache().resolve()), str(demo.base)]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("BURST_", "SBATCH_", "SLURM_"))
    }
    environment |= {"BURST_CACHE": str(shared_cache()), "BURST_TEST_MARK": demo.mark, "WATCHED": WATCHED}
    command = [sys.executable, "-m", "gateway.cli", "demo", "--dir", str(demo.directory), "--form=container", "--json"]
    view = ["unshare", "--mount", "--propagation=private", "sh", "-c", VIEW, "view", str(state), f"{demo.base}/written"]
    with (demo.base / "out").open("wb") as out, (demo.base / "err").open("wb") as err:
        timed = [shutil.which("timeout") or "timeout", "--signal=TERM", str(WITHIN_S)]
        return subprocess.Popen([*view, *kept, "--", *timed, *command], env=environment, stdout=out, stderr=err)


def _is_of(process: psutil.Process, demo: Demo) -> bool:
    try:
        words = [*process.cmdline(), *process.environ().values(), process.cwd()]
    except psutil.Error:
        return False
    return process.pid != os.getpid() and any(demo.mark in word or str(demo.directory) in word for word in words)


def _namespace(pid: int) -> int:
    """Inode of a process's network namespace; 0 if that is this machine's own, or the process is gone."""
    try:
        inode = Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0
    return 0 if inode == Path("/proc/self/ns/net").stat().st_ino else inode


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
