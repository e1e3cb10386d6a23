"""Checks: what of a site's configuration could stop its extension, or is worth knowing before it.

Invariant: pure: nothing is asked and nothing written here. Each finding is one line that names its place and, where it
stops the installation, what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.engines.distribution import NEWEST, OLDEST, release_of
from gateway.engines.site_conf import Line, SiteConf
from gateway.engines.site_partition import POWER_PROGRAMS, CloudPartition, wishes, with_lua

Level = Literal["ok", "note", "stop"]

_SELECTS = ("select/cons_tres", "select/linear")
_EVERYBODY = ("AllowGroups", "AllowAccounts", "AllowQos", "DenyAccounts", "DenyQos")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``where``: file and line, or what was asked."""

    level: Level
    where: str
    says: str

    def line(self) -> str:
        """As it is printed."""
        return f"{self.level:4}  {self.where}: {self.says}"


@dataclass(frozen=True)
class Surroundings:
    """What stands around the configuration; gathered by asking, see ``gateway.bootstrap.site_look``."""

    running: Mapping[str, str]
    """What slurmctld says that it is configured with; empty where it does not answer."""
    trouble: str
    """Why it does not answer, in Slurm's words; "" where it does."""
    plugins: frozenset[str]
    """Names of the plugin files that Slurm has ("job_submit_lua"); empty where they cannot be seen."""
    site_lua: bool
    """Whether there is a job_submit.lua of the site's own."""
    taken: tuple[Path, ...]
    """Files of our names that are not ours."""
    closed: tuple[str, ...]
    """What may not be written or run, one sentence each."""


Check = Callable[[SiteConf, CloudPartition, Surroundings], Iterator[Finding]]


def findings(conf: SiteConf, partition: CloudPartition, around: Surroundings) -> list[Finding]:
    """Everything, in the order in which an administrator would look; ``conf`` is the site's without ours."""
    return [finding for check in _CHECKS for finding in check(conf, partition, around)]


def stops(found: Iterable[Finding]) -> list[Finding]:
    """What stands in the way."""
    return [finding for finding in found if finding.level == "stop"]


def _slurmctld(conf: SiteConf, _: CloudPartition, around: Surroundings) -> Iterator[Finding]:
    version = around.running.get("SLURM_VERSION", "")
    if not version:
        why = f"it does not answer: {around.trouble}; see that `scontrol ping` says UP, then try again"
        yield Finding("stop", "slurmctld", why)
    elif not OLDEST <= release_of(version) <= NEWEST:
        yield Finding("stop", "slurmctld", f"it is release {version}; the gateway knows 24.11 to 26.05")
    else:
        yield Finding("ok", "slurmctld", f"release {version} answers")
    for line, _key, value in _settings(conf, "SlurmctldHost", skip=1):
        name = value.partition("(")[0]
        yield Finding("note", line.place, f"the backup controller {name} needs the same files and the same programs")


def _select(conf: SiteConf, _: CloudPartition, around: Surroundings) -> Iterator[Finding]:
    found = conf.get("SelectType") or around.running.get("SelectType", _SELECTS[0])
    place = _place(conf, "SelectType")
    if found.lower() not in _SELECTS:
        yield Finding("stop", place, f"{found} cannot give a job whole nodes; {' and '.join(_SELECTS)} can")
    else:
        yield Finding("ok", place, f"{found} gives jobs whole nodes")


def _submit_plugins(conf: SiteConf, partition: CloudPartition, around: Surroundings) -> Iterator[Finding]:
    for name, key in (("job_submit_lua", "JobSubmitPlugins"), ("cli_filter_lua", "CliFilterPlugins")):
        if key == "CliFilterPlugins" and not partition.cli_filter:
            continue
        if around.plugins and name not in around.plugins:
            yield Finding("stop", _place(conf, key), f"Slurm has no plugin {name}: install Slurm's Lua plugins")
        if own := conf.get(key):
            yield Finding("note", _place(conf, key), f"{own} stays: burst.conf sets {key}={with_lua(own)}")
    if around.site_lua:
        says = "the site's own stays as job_submit.site.lua and is called first; edit it there from then on"
        yield Finding("note", str(conf.path.parent / "job_submit.lua"), says)


def _programs(conf: SiteConf, _: CloudPartition, __: Surroundings) -> Iterator[Finding]:
    for key in POWER_PROGRAMS:
        for line in conf.where(key)[-1:]:
            yield Finding("note", line.place, f"{conf.get(key)} stays: {key} of ours calls it for all other nodes")
    for line, _key, value in _settings(conf, "PrologSlurmctld"):
        yield Finding("note", line.place, f"{value} stays: Slurm runs both")


def _names(conf: SiteConf, partition: CloudPartition, _: Surroundings) -> Iterator[Finding]:
    for line, name, _pairs in conf.records("PartitionName"):
        if name == partition.name:
            yield Finding("stop", line.place, f"it has a partition {name}; choose another with --partition")
    sizes = {group.name for group in partition.groups}
    for name, line in [(name, line) for name, line in conf.nodes().items() if _size_of(name) in sizes][:1]:
        yield Finding("stop", line.place, f"it has a node {name}; give the sizes of burst.toml other names")
    for line, name, pairs in conf.records("PartitionName"):
        if pairs.get("nodes", "").upper() == "ALL":
            says = f"partition {name} has Nodes=ALL, which would be the cloud's nodes too; name the site's own nodes"
            yield Finding("stop", line.place, says)


def _defaults(conf: SiteConf, _: CloudPartition, __: Surroundings) -> Iterator[Finding]:
    for line, name, pairs in conf.records("PartitionName"):
        held = [key for key in _EVERYBODY if key.lower() in pairs]
        if name.upper() == "DEFAULT" and held:
            says = f"{', '.join(held)} of PartitionName=DEFAULT will hold for the cloud partition too"
            yield Finding("note", line.place, says)


def _ports(conf: SiteConf, partition: CloudPartition, _: Surroundings) -> Iterator[Finding]:
    ours = {
        port
        for group in partition.groups
        if group.first_port
        for port in range(group.first_port, group.first_port + group.count)
    }
    for line, key, value in conf.settings():
        if key in {"slurmctldport", "slurmdport", "srunportrange", "accountingstorageport"} and ours & _span(value):
            yield Finding("stop", line.place, f"{key} is a port of our nodes; remove ports.json and install again")
    for line, name, pairs in conf.records("NodeName"):
        if "port" in pairs and ours & _span(pairs["port"].strip("[]")):
            yield Finding("stop", line.place, f"{name} has a port of our nodes; remove ports.json and install again")


def _files(conf: SiteConf, _: CloudPartition, around: Surroundings) -> Iterator[Finding]:
    for path in around.taken:
        says = "it is there and not ours, or a link: give it another name, or put a file in its place"
        yield Finding("stop", str(path), says)
    for says in around.closed:
        yield Finding("stop", "permissions", says)
    if not around.taken and not around.closed:
        yield Finding("ok", str(conf.path), f"{len(conf.files)} file{'s' if len(conf.files) > 1 else ''} read")


def _rights(conf: SiteConf, _: CloudPartition, __: Surroundings) -> Iterator[Finding]:
    if "cloud" in conf.get("PrivateData").lower().split(","):
        yield Finding(
            "note", _place(conf, "PrivateData"), "cloud is needless since 23.02: nodes that are off are shown"
        )
    if conf.get("EnforcePartLimits").upper() in {"ALL", "YES"}:
        says = "a job for two partitions must fit both: one that fits only its own is not moved to the cloud"
        yield Finding("note", _place(conf, "EnforcePartLimits"), says)
    tree = conf.get("TreeWidth", "16")
    if tree.isdigit() and int(tree) < 65533 and "topology/tree" not in conf.get("TopologyPlugin"):  # noqa: PLR2004
        says = f"TreeWidth is {tree}: nodes pass messages on to each other, so cloud nodes must find each other's names"
        yield Finding("note", _place(conf, "TreeWidth"), says)
    if "topology/tree" in conf.get("TopologyPlugin"):
        says = "topology.conf does not know the cloud's nodes: jobs of several cloud nodes need a switch for them"
        yield Finding("note", _place(conf, "TopologyPlugin"), says)
    if conf.get("ReturnToService", "0") == "0":
        says = "with 0 a cloud node that was down stays so until somebody resumes it; 2 is better"
        yield Finding("note", _place(conf, "ReturnToService"), says)


def _wishes(conf: SiteConf, _: CloudPartition, __: Surroundings) -> Iterator[Finding]:
    yield from (Finding("note", place, says) for place, says in wishes(conf))


_CHECKS: tuple[Check, ...] = (
    _slurmctld, _select, _submit_plugins, _programs, _names, _defaults, _ports, _files, _rights, _wishes,
)  # fmt: skip


def _settings(conf: SiteConf, key: str, skip: int = 0) -> list[tuple[Line, str, str]]:
    return [found for found in conf.settings() if found[1] == key.lower()][skip:]


def _place(conf: SiteConf, key: str) -> str:
    lines = conf.where(key)
    return lines[-1].place if lines else str(conf.path)


def _size_of(node: str) -> str:
    """What a node of ours would be of: "small" of "small-12"."""
    size, dash, number = node.rpartition("-")
    return size if dash and number.isdigit() else ""


def _span(text: str) -> set[int]:
    """The ports of "6817", "6817-6820" or "17001,17003"; what is none is empty."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found |= set(range(int(first), int(last or first) + 1))
    return found
