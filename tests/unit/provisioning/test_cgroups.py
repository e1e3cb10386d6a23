"""Control groups of container nodes, on a copy of each layout that Linux hosts have."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.provisioning.cgroups import NodeGroup, hierarchies

CORES = 1


def layout(root: Path, *names: str) -> Path:
    """A host with these hierarchies; "" stands for cgroup v2 mounted at the root itself."""
    for name in names:
        (root / name).mkdir(exist_ok=True)
        (root / name / "cgroup.procs").touch()
        if not name:
            (root / "cgroup.controllers").touch()
    return root


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (("",), ["."]),
        (("systemd", "unified", "memory", "pids", "cpu", "blkio"), ["systemd", "unified", "memory", "pids", "cpu"]),
        (("systemd", "memory"), ["systemd", "memory"]),
        ((), []),
    ],
)
def test_a_node_has_a_group_in_each_hierarchy_that_matters(
    tmp_path: Path, names: tuple[str, ...], used: list[str]
) -> None:
    """cgroup v2, a hybrid host, plain v1, and a host without control groups."""
    root = layout(tmp_path, *names)

    assert [str(path.relative_to(root)) for path in hierarchies(root)] == used


def test_limits_follow_the_size_on_v1(tmp_path: Path) -> None:
    """Memory with room for the node's own services, and processor time where the size has fewer cores than the host."""
    group = NodeGroup("burst0", "small-1", layout(tmp_path, "systemd", "memory"))

    group.create(memory_mb=1024, cores=10_000)

    assert (tmp_path / "memory/burst0/small-1/memory.limit_in_bytes").read_text() == str((1024 + 160) << 20)
    assert (tmp_path / "systemd/burst0/small-1").is_dir()


def test_limits_follow_the_size_on_v2(tmp_path: Path) -> None:
    """The controllers are handed down to the node's group first."""
    group = NodeGroup("burst0", "small-1", layout(tmp_path, ""))

    group.create(memory_mb=512, cores=10_000)

    assert (tmp_path / "burst0/small-1/memory.max").read_text() == str((512 + 160) << 20)
    assert (tmp_path / "burst0/cgroup.subtree_control").exists()
