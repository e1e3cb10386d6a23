"""CloudPartition: what burst.conf says, the file that a site's slurm.conf includes.

Invariant: Slurm takes the last value of a key, so what the site set itself is either left out here, or repeated with
ours added to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.engines.site_block import OURS
from gateway.engines.site_conf import SiteConf
from gateway.engines.slurm_conf import NodeGroup, node_line

LUA = "lua"
POWER_PROGRAMS = ("ResumeProgram", "SuspendProgram", "ResumeFailProgram")
"""A cluster has one of each: ours stand in burst.conf, and call the site's own for nodes that are not ours."""

_WISHED: Mapping[str, tuple[str, str]] = {
    "SlurmctldParameters": (
        "idle_on_node_suspend,power_save_interval=1,power_save_min_interval=0",
        "cloud nodes then come and go faster",
    ),
    "ReconfigFlags": ("KeepPowerSaveSettings", "power saving as changed by hand then outlives a reconfiguration"),
    "MinJobAge": ("3600", "the gateway may then be away for an hour and still learn how a job ended"),
}
"""Key → what we set, and why. Where a site has its own value that stays, and it is told of ours."""


_SHAPE = frozenset({"boards", "sockets", "socketsperboard", "corespersocket", "threadspercore", "procs"})


@dataclass(frozen=True)
class CloudPartition:
    """What burst.conf says. Times in seconds unless the name says else."""

    name: str
    groups: tuple[NodeGroup, ...]
    programs: Mapping[str, Path]
    idle_s: int
    resume_timeout_s: int
    default_time_limit_min: int
    max_time_limit_min: int
    cli_filter: bool = False
    """Whether the site's commands are to run cli_filter.lua."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of its nodes."""
        return tuple(f"{group.name}-{number}" for group in self.groups for number in range(1, group.count + 1))

    def text(self, conf: SiteConf) -> str:
        """burst.conf for the site of ``conf``: what the site has its own values for is left out."""
        own = {name for _, name, _ in conf.settings()}
        wished = {key: words for key, (words, _) in _WISHED.items() if key.lower() not in own}
        settings = {
            **{name: str(path) for name, path in self.programs.items()},
            "JobSubmitPlugins": with_lua(conf.get("JobSubmitPlugins")),
            **({"CliFilterPlugins": with_lua(conf.get("CliFilterPlugins"))} if self.cli_filter else {}),
            **wished,
        }
        lines = [
            f"# {OURS}; burst site remove removes it.",
            *(f"{key}={value}" for key, value in settings.items()),
            *(f"{node_line(group, 'process', '127.0.0.1')}{_shape(group, conf)}" for group in self.groups),
            self._partition_line(),
        ]
        return "".join(f"{line}\n" for line in lines)

    def _partition_line(self) -> str:
        words = {
            "PartitionName": self.name,
            "Nodes": ",".join(group.nodes for group in self.groups),
            "Default": "NO",
            "State": "UP",
            "OverSubscribe": "EXCLUSIVE",
            "DefaultTime": self.default_time_limit_min,
            "MaxTime": self.max_time_limit_min,
            # Of this partition only: the site's own nodes are never powered down.
            "SuspendTime": self.idle_s,
            "ResumeTimeout": self.resume_timeout_s,
            "SuspendTimeout": 10,
        }
        return " ".join(f"{key}={value}" for key, value in words.items())


def with_lua(plugins: str) -> str:
    """A list of plugins with Lua in it: the site's own keep their order and come first."""
    names = [name for name in plugins.replace(" ", "").split(",") if name]
    bare = {name.removeprefix("job_submit/").removeprefix("cli_filter/") for name in names}
    return ",".join(names if LUA in bare else [*names, LUA])


def wishes(conf: SiteConf) -> list[tuple[str, str]]:
    """What the site sets to its own liking, and might add to: the place of its line, and a sentence."""
    return [
        (conf.where(key)[-1].place, f"{key} is the site's own and stays; with {words}, {why}")
        for key, (words, why) in _WISHED.items()
        if conf.where(key) and not _has(conf.get(key), words)
    ]


def _shape(group: NodeGroup, conf: SiteConf) -> str:
    """Sockets and cores, where NodeName=DEFAULT gives all nodes below it those of the site's own."""
    given = {key for _, name, pairs in conf.records("NodeName") if name.upper() == "DEFAULT" for key in pairs}
    shape = f" Boards=1 SocketsPerBoard=1 CoresPerSocket={group.cpus} ThreadsPerCore=1"
    return shape if given & _SHAPE else ""


def _has(value: str, words: str) -> bool:
    return set(words.lower().split(",")) <= set(value.lower().split(",")) or (
        words.isdigit() and value.isdigit() and int(value) >= int(words)
    )
