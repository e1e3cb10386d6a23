"""The embedded cluster's configuration files, rendered from a plan; pure text, no I/O.

Invariant: ``slurm.conf`` holds what is true everywhere and is what configless nodes are sent; ``head.conf`` includes it
and adds what is true on the head only (its munge socket, keys, plugin folder, programs). So no path of the head is
ever needed on a node, and a node uses munge's and Slurm's own default places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PARTITION = "burst"
HEAD_CONF = "head.conf"
"""slurmctld, slurmrestd, commands on the head and process nodes read this one (SLURM_CONF)."""

LAUNCH_PATIENCE_S = 3600
"""BatchStartTimeout: how long a node's prolog, which stages inputs in, may take."""

REMEMBER_S = 86400
"""MinJobAge: how long slurmctld remembers an ended job, and so how long a gateway may be away."""

_CONTROLLER = "enable_configless,idle_on_node_suspend,power_save_interval=1,power_save_min_interval=0"
_POWER = (
    ("ReconfigFlags", "KeepPowerSaveSettings"),
    # Latency: by default a scheduling pass may wait 3 s for more submissions, and backfill 30 s. And a job that a node
    # could not launch is queued again for another one; by default Slurm holds it until somebody looks.
    (
        "SchedulerParameters",
        "sched_min_interval=0,batch_sched_delay=0,bf_interval=5,bf_continue,sbatch_wait_nodes,nohold_on_prolog_fail",
    ),
)

Form = Literal["container", "process"]
Lines = Iterable[tuple[str, object]]


@dataclass(frozen=True)
class NodeGroup:
    """CLOUD nodes of one size, called ``NAME-1`` to ``NAME-COUNT``; ``name`` is also their feature."""

    name: str
    count: int
    cpus: int
    memory_mb: int
    gpus: int
    weight: int
    """Slurm fills nodes of a low weight first: give the cheap ones the low weights."""
    first_port: int | None = None
    """Process form: slurmd's port on the first node, the others follow. Container form: None, all use 6818."""
    gpu_type: str = ""
    """Slurm's name of the GPUs; "" where they have none."""
    kept: int = 0
    """So many are never given back for being idle."""
    gpu_files: str = ""
    """Their device files on each node (gres.conf(5), File); "": there are none."""

    @property
    def nodes(self) -> str:
        """All of them, as a Slurm hostlist."""
        return f"{self.name}-[1-{self.count}]"


@dataclass(frozen=True)
class ClusterPlan:
    """All that the configuration of an embedded cluster depends on. Times in seconds unless the name says else."""

    name: str
    directory: Path
    """Holds ``slurm.conf``, ``head.conf``, and state."""
    log_dir: Path
    jwt_key: Path
    munge_socket: Path
    plugin_dir: Path
    form: Form
    head_host: str
    """Short host name of the head."""
    head_address: str
    """Where nodes reach slurmctld."""
    slurmctld_port: int
    user: str
    """SlurmUser and SlurmdUser, by name or uid."""
    groups: tuple[NodeGroup, ...]
    programs: Mapping[str, Path]
    """Slurm's name of a program (ResumeProgram, PrologSlurmctld, …) → absolute path of an executable."""
    prolog: str | None = None
    """Absolute path on the nodes."""
    epilog: str | None = None
    mpi: str = "none"
    """MpiDefault; "pmix" needs libpmix on every node."""
    idle_s: int = 30
    suspend_timeout_s: int = 10
    resume_timeout_s: int = 180
    default_time_limit_min: int = 60
    max_time_limit_min: int = 1440
    memory_percent: int = 90
    """How much of a node's memory it must have to be Slurm's (node_reg_mem_percent)."""


def render(plan: ClusterPlan) -> Mapping[str, str]:
    """File name → text, all for ``plan.directory``. Rules: slurm.conf(5), gres.conf(5), cgroup.conf(5) of 24.11."""
    return {
        "slurm.conf": _text(_everywhere(plan)) + _nodes(plan),
        HEAD_CONF: "Include slurm.conf\n" + _text(_head(plan)),
        # AutoDetect would look for real cards on every node.
        "gres.conf": "AutoDetect=off\n" + "".join(_gres(group) for group in plan.groups if group.gpus),
        # Nodes may be containers or run as an ordinary user, so no cgroup hierarchy is ours to write to.
        "cgroup.conf": "CgroupPlugin=disabled\n",
    }


def _everywhere(plan: ClusterPlan) -> Lines:
    return (
        ("ClusterName", plan.name),
        ("SlurmctldHost", f"{plan.head_host}({plan.head_address})"),
        ("SlurmctldPort", plan.slurmctld_port),
        ("SlurmUser", plan.user),
        ("SlurmdUser", plan.user),
        ("AuthType", "auth/munge"),
        ("CredType", "cred/munge"),
        # A node's file differs from the head's on purpose (see above), which Slurm would report at each registration.
        ("DebugFlags", "NO_CONF_HASH"),
        *_execution(plan),
        *_timeouts(plan),
        ("SlurmctldParameters", f"{_CONTROLLER},node_reg_mem_percent={plan.memory_percent}"),
        *_POWER,
    )


def _execution(plan: ClusterPlan) -> Lines:
    """How jobs run on nodes; pgid would lose what calls setsid(2), so processes are tracked by their parents."""
    yield from (
        ("ProctrackType", "proctrack/linuxproc"),
        ("TaskPlugin", "task/none"),
        ("JobAcctGatherType", "jobacct_gather/none"),
        ("SwitchType", "switch/none"),
        ("MpiDefault", plan.mpi),
        ("SelectType", "select/cons_tres"),
        ("SelectTypeParameters", "CR_CPU"),
        ("GresTypes", "gpu"),
        # Sizes are what the tariff sells, not what the hardware under a demo has.
        ("SlurmdParameters", "config_overrides"),
        ("ReturnToService", 2),
        ("TreeWidth", 65533),
        ("JobRequeue", 1),
        # DeferBatch: the batch script starts when the prolog, hence the stage-in, is done on every node of the job.
        ("PrologFlags", "Alloc,DeferBatch"),
    )
    if plan.prolog:
        yield "Prolog", plan.prolog
    if plan.epilog:
        yield "Epilog", plan.epilog
    if plan.form == "process":
        # Where the host's name resolves to loopback, as on Debian, neither slurmctld nor a node is on the network.
        yield "CommunicationParameters", "NoCtldInAddrAny,NoInAddrAny"
        yield "SlurmdSpoolDir", plan.directory / "slurmd" / "%n"
        yield "SlurmdPidFile", plan.directory / "slurmd" / "%n.pid"
        yield "SlurmdLogFile", plan.log_dir / "slurmd-%n.log"


def _timeouts(plan: ClusterPlan) -> Lines:
    if kept := ",".join(f"{group.name}-[1-{group.kept}]" for group in plan.groups if group.kept):
        yield "SuspendExcNodes", kept
    yield from (
        ("MessageTimeout", 20),
        ("BatchStartTimeout", LAUNCH_PATIENCE_S),
        ("MinJobAge", REMEMBER_S),
        ("KillWait", 30),
        ("ResumeTimeout", plan.resume_timeout_s),
        ("SuspendTimeout", plan.suspend_timeout_s),
        ("SuspendTime", plan.idle_s),
        ("ResumeRate", 0),
        ("SuspendRate", 0),
    )


def _head(plan: ClusterPlan) -> Lines:
    yield from (
        ("AuthInfo", f"socket={plan.munge_socket}"),
        ("AuthAltTypes", "auth/jwt"),
        ("AuthAltParameters", f"jwt_key={plan.jwt_key}"),
        ("PluginDir", plan.plugin_dir),
        ("StateSaveLocation", plan.directory / "state"),
        ("SlurmctldPidFile", plan.directory / "slurmctld.pid"),
        # Without a log file of its own, slurmctld -D writes to stderr only, which its daemon's log collects.
        ("SlurmctldSyslogDebug", "quiet"),
        ("MailProg", "/bin/true"),
        ("JobCompType", "jobcomp/filetxt"),
        ("JobCompLoc", plan.log_dir / "jobcomp.txt"),
    )
    yield from plan.programs.items()


def _nodes(plan: ClusterPlan) -> str:
    lines = [node_line(group, plan.form, plan.head_address) for group in plan.groups]
    lines.append(
        f"PartitionName={PARTITION} Nodes=ALL Default=YES State=UP OverSubscribe=EXCLUSIVE"
        f" DefaultTime={plan.default_time_limit_min} MaxTime={plan.max_time_limit_min}"
    )
    return "".join(f"{line}\n" for line in lines)


def node_line(group: NodeGroup, form: Form, address: str) -> str:
    """The NodeName line of a size; process nodes are at ``address``. Raises ValueError where they lack ports."""
    words = [f"NodeName={group.nodes} State=CLOUD CPUs={group.cpus} RealMemory={group.memory_mb}"]
    words.append(f"Feature={group.name} Weight={group.weight}")
    if group.gpus:
        words.append(f"Gres=gpu:{f'{group.gpu_type}:' if group.gpu_type else ''}{group.gpus}")
    if form == "process":
        words.append(f"NodeAddr={address} Port={_ports(group)}")
    return " ".join(words)


def _ports(group: NodeGroup) -> str:
    if group.first_port is None:
        raise ValueError(f"process nodes {group.nodes} need ports")
    last = group.first_port + group.count - 1
    return str(last) if group.count == 1 else f"[{group.first_port}-{last}]"


def _gres(group: NodeGroup) -> str:
    """Explicit, as AutoDetect finds nothing for a node in the cloud that is not there yet.

    GPUs without hardware: Slurm drops a GPU that has no device file and wants each file's name to be another one.
    """
    files = group.gpu_files or ",".join(f"/dev{'/' * card}null" for card in range(1, group.gpus + 1))
    kind = f" Type={group.gpu_type}" if group.gpu_type else ""
    return f"NodeName={group.nodes} Name=gpu{kind} File={files}\n"


def _text(lines: Lines) -> str:
    return "".join(f"{key}={value}\n" for key, value in lines)
