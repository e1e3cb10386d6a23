"""NodeGroup: the control groups of one container node, on cgroup v1, hybrid or v2 hosts (cgroups(7)).

Invariant: a node's processes never leave its groups, so killing what is in them ends the whole node, and each node
has groups of its own: in a shared group the systemds of two nodes would remove each other's slices.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")

_V1 = ("systemd", "unified", "memory", "pids", "cpu")
_PERIOD_US = 100_000
_SLACK_MB = 160
"""On top of a size's memory: systemd, sshd, slurmd and the node's agent."""
_TICK_S = 0.01


@dataclass(frozen=True)
class NodeGroup:
    """The groups ``ROOT/[HIERARCHY/]CLOUD/NODE`` of one node."""

    cloud: str
    node: str
    root: Path = CGROUP_ROOT

    @property
    def paths(self) -> tuple[Path, ...]:
        """One folder a hierarchy."""
        return tuple(hierarchy / self.cloud / self.node for hierarchy in hierarchies(self.root))

    def create(self, *, memory_mb: int, cores: int) -> None:
        """Make the groups and set their limits, as far as the host has the controllers."""
        for path in self.paths:
            path.mkdir(parents=True, exist_ok=True)
        quota = cores * _PERIOD_US if cores < (os.cpu_count() or 1) else None
        limit = (memory_mb + _SLACK_MB) << 20
        if is_unified(self.root):
            _delegate(self.root, self.root / self.cloud)
            _set(self.paths[0] / "memory.max", limit)
            _set(self.paths[0] / "cpu.max", None if quota is None else f"{quota} {_PERIOD_US}")
        else:
            _set(self._v1("memory") / "memory.limit_in_bytes", limit)
            _set(self._v1("cpu") / "cpu.cfs_quota_us", quota)

    def pids(self) -> frozenset[int]:
        """Every live process of the node, nested groups included."""
        found: set[int] = set()
        for path in self.paths:
            for folder, _, _ in os.walk(path):
                found |= set(_members(Path(folder)))
        return frozenset(found)

    def end(self, *, within_s: float = 10.0) -> bool:
        """Kill every process of the node and remove its groups; whether that was done in time."""
        deadline = time.monotonic() + within_s
        while any(path.exists() for path in self.paths):
            for pid in self.pids():
                _kill(pid)
            for path in self.paths:
                _remove(path)
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK_S)
        for path in self.paths:
            _rmdir(path.parent)
        return True

    def _v1(self, hierarchy: str) -> Path:
        return self.root / hierarchy / self.cloud / self.node


def is_unified(root: Path = CGROUP_ROOT) -> bool:
    """Whether the host has cgroup v2 only."""
    return (root / "cgroup.controllers").exists()


def hierarchies(root: Path = CGROUP_ROOT) -> tuple[Path, ...]:
    """The hierarchies in which a node gets a group: v2's only one, or those of v1 that matter to systemd and limits."""
    if is_unified(root):
        return (root,)
    return tuple(root / name for name in _V1 if (root / name / "cgroup.procs").exists())


def _delegate(*folders: Path) -> None:
    for folder in folders:
        for controller in ("memory", "pids", "cpu"):
            _set(folder / "cgroup.subtree_control", f"+{controller}")


def _set(file: Path, value: object) -> None:
    if value is None:
        return
    try:
        file.write_text(str(value))
    except OSError:
        return  # a host without this controller: the node runs without the limit


def _members(folder: Path) -> Iterator[int]:
    try:
        pids = map(int, (folder / "cgroup.procs").read_text().split())
        yield from (pid for pid in pids if pid > 0)  # 0 stands for a process that this pid namespace does not see
    except OSError:
        return  # the group went away meanwhile


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        _rmdir(Path(folder))


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # gone already, a process is still ending in it, or it is the cloud's and has other nodes
