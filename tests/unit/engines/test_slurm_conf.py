"""What the configuration of an embedded cluster says, and to whom."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gateway.engines.embedded import node_groups
from gateway.engines.slurm_conf import ClusterPlan, NodeGroup, render
from gateway.settings import DEFAULT_SIZES

CONTAINER = ClusterPlan(
    name="burst",
    directory=Path("/srv/b/slurm"),
    log_dir=Path("/srv/b/log"),
    jwt_key=Path("/srv/b/secrets/jwt.key"),
    munge_socket=Path("/srv/b/run/munge.sock"),
    plugin_dir=Path("/srv/b/cache/plugins"),
    form="container",
    head_host="head",
    head_address="10.9.0.1",
    slurmctld_port=26817,
    user="root",
    groups=(NodeGroup("small", 12, 2, 1024, 0, 1200), NodeGroup("gpu", 1, 4, 4096, 2, 30000)),
    programs={"ResumeProgram": Path("/srv/b/slurm/programs/resume")},
    prolog="/usr/local/lib/burst/prolog",
    epilog="/usr/local/lib/burst/epilog",
)
PROCESS = dataclasses.replace(
    CONTAINER,
    form="process",
    head_address="127.0.0.1",
    groups=(NodeGroup("small", 12, 2, 1024, 0, 1200, 27000), NodeGroup("gpu", 1, 4, 4096, 2, 30000, 27012)),
)


def settings_of(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_nodes_are_sent_no_path_of_the_head():
    """What configless nodes get names neither the gateway's folder nor a socket, key, plugin or program of the head."""
    files = render(CONTAINER)
    sent = files["slurm.conf"] + files["gres.conf"] + files["cgroup.conf"]
    assert "/srv/b" not in sent
    assert not {"AuthInfo", "PluginDir", "ResumeProgram", "AuthAltParameters"} & settings_of(sent).keys()


def test_the_head_adds_its_own_to_what_all_share():
    """The head's file includes the shared one and repeats none of its keys, which Slurm would complain about."""
    files = render(CONTAINER)
    assert files["head.conf"].startswith("Include slurm.conf\n")
    head, shared = settings_of(files["head.conf"]), settings_of(files["slurm.conf"])
    assert not head.keys() & shared.keys()
    assert head["AuthInfo"] == "socket=/srv/b/run/munge.sock"
    assert head["ResumeProgram"] == "/srv/b/slurm/programs/resume"


def test_container_nodes_have_no_address_before_they_register():
    """A CLOUD node's address is its registration's; each has its size as feature and its price as weight."""
    nodes = [line for line in render(CONTAINER)["slurm.conf"].splitlines() if line.startswith("NodeName=")]
    assert nodes == [
        "NodeName=small-[1-12] State=CLOUD CPUs=2 RealMemory=1024 Feature=small Weight=1200",
        "NodeName=gpu-[1-1] State=CLOUD CPUs=4 RealMemory=4096 Feature=gpu Weight=30000 Gres=gpu:2",
    ]


def test_process_nodes_are_told_apart_by_their_ports():
    """All are on loopback, one port each."""
    text = render(PROCESS)["slurm.conf"]
    assert "Weight=1200 NodeAddr=127.0.0.1 Port=[27000-27011]\n" in text
    assert "Gres=gpu:2 NodeAddr=127.0.0.1 Port=27012\n" in text
    assert settings_of(text)["SlurmdSpoolDir"] == "/srv/b/slurm/slurmd/%n"


def test_process_nodes_without_ports_are_a_mistake():
    """Nothing is rendered that Slurm would misread."""
    with pytest.raises(ValueError, match=r"small-\[1-12\] need ports"):
        render(dataclasses.replace(PROCESS, groups=CONTAINER.groups))


def test_a_job_has_its_nodes_to_itself():
    """The default partition has all nodes, exclusively, with both time limits."""
    (partition,) = (line for line in render(CONTAINER)["slurm.conf"].splitlines() if line.startswith("Partition"))
    assert partition == (
        "PartitionName=burst Nodes=ALL Default=YES State=UP OverSubscribe=EXCLUSIVE DefaultTime=60 MaxTime=1440"
    )


def test_every_gpu_has_a_device_file_of_another_name():
    """Slurm drops a GPU without a file and refuses two with the same."""
    assert render(CONTAINER)["gres.conf"] == "AutoDetect=off\nNodeName=gpu-[1-1] Name=gpu File=/dev/null,/dev//null\n"
    without = dataclasses.replace(CONTAINER, groups=CONTAINER.groups[:1])
    assert render(without)["gres.conf"] == "AutoDetect=off\n"


def test_cheaper_sizes_are_filled_first():
    """Weights follow the prices, ports follow each other."""
    groups = node_groups(DEFAULT_SIZES, 27000)
    assert [group.weight for group in groups] == sorted(group.weight for group in groups)
    assert [group.first_port for group in groups] == [27000, 27012, 27016]
    assert {group.first_port for group in node_groups(DEFAULT_SIZES, None)} == {None}


def test_gpus_of_a_type_are_declared_by_it():
    """In the node's line and in gres.conf, so that --gpus=a100:2 finds them and no others."""
    group = NodeGroup("gpu", 2, 4, 4096, 2, 30000, gpu_type="a100")
    files = render(dataclasses.replace(CONTAINER, groups=(group,)))

    assert "Feature=gpu Weight=30000 Gres=gpu:a100:2\n" in files["slurm.conf"]
    assert files["gres.conf"].endswith("NodeName=gpu-[1-2] Name=gpu Type=a100 File=/dev/null,/dev//null\n")


def test_nodes_that_are_kept_on_are_not_suspended():
    """The first of their size."""
    group = NodeGroup("small", 12, 2, 1024, 0, 1200, kept=2)

    assert "SuspendExcNodes=small-[1-2]\n" in render(dataclasses.replace(CONTAINER, groups=(group,)))["slurm.conf"]
    assert "SuspendExcNodes" not in render(CONTAINER)["slurm.conf"]
