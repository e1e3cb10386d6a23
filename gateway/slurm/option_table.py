"""The one table of sbatch's options, as sbatch 24.11.5 itself lists them.

Invariant: every option that sbatch knows is here, in its order; what the gateway refuses has the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.slurm import job_values as j
from gateway.slurm import resource_values as r
from gateway.slurm import values as v


class Argument(Enum):
    """Whether an option takes a value, as getopt_long(3) has it."""

    NONE = "none"
    REQUIRED = "required"
    OPTIONAL = "optional"
    """Only joined to the option: ``--nice=10``, ``-koff``."""


class Support(Enum):
    """What the gateway does with an option."""

    SUPPORTED = "supported"
    """The gateway itself knows what it means."""
    PASSED = "passed"
    """Slurm gets it as it is."""
    CLIENT = "client"
    """A matter of the command; Slurm never sees it."""
    NO_EFFECT = "no effect"
    """Accepted and dropped, for the reason given."""
    REFUSED = "refused"


@dataclass(frozen=True)
class Option:
    """One option of sbatch: how it is written, and what it becomes in slurmrestd's job description."""

    name: str
    short: str = ""
    argument: Argument = Argument.REQUIRED
    environment: tuple[str, ...] = ()
    """Variables that set it."""
    support: Support = Support.SUPPORTED
    reason: str = ""
    """Why it is refused or has no effect."""
    convert: v.Converter = v.nothing
    aliases: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    """Options that are unset by it: the last of them wins."""


def _row(name: str, convert: v.Converter = v.nothing, *, env: str | None = "", **other: object) -> Option:
    """A supported option with a value; ``env`` None: no variable, "": the variable of its name."""
    variables = () if env is None else tuple((env or "SBATCH_" + name.upper().replace("-", "_")).split())
    return Option(name=name, convert=convert, environment=variables, **other)  # type: ignore[arg-type]


def _pass(name: str, convert: v.Converter, **other: object) -> Option:
    return _row(name, convert, support=Support.PASSED, **other)  # type: ignore[arg-type]


def _flag(name: str, convert: v.Converter = v.nothing, **other: object) -> Option:
    return _row(name, convert, argument=Argument.NONE, **other)  # type: ignore[arg-type]


def _here(name: str, argument: Argument = Argument.NONE, **other: object) -> Option:
    return _row(name, argument=argument, support=Support.CLIENT, **other)  # type: ignore[arg-type]


def _refuse(name: str, reason: str, **other: object) -> Option:
    return _row(name, support=Support.REFUSED, reason=reason, **other)  # type: ignore[arg-type]


_OPTIONAL = Argument.OPTIONAL
_ONE_CLUSTER = "the gateway is one cluster"
_NO_BURST_BUFFER = "the nodes have no burst buffer; use #BURST --stage-in and --stage-out"
_NO_OCI = "the nodes have no OCI runtime"
_NO_FIELD = "slurmrestd's job description has no field for it"
_IN_SCRIPT = "it only concerns job steps; give it to srun inside the script"
_ANOTHER_USER = "a job runs as the gateway's job user"
_LOCAL_FILE = "it names a file on the submitting machine"

TABLE: tuple[Option, ...] = (
    _row("account", v.text("account"), short="A"),
    _pass("acctg-freq", j.sampling),
    _row("array", v.text("array"), short="a", env="SBATCH_ARRAY_INX"),
    _here("autocomplete", Argument.REQUIRED, env=None),
    _pass("batch", v.text("batch_features")),
    _refuse("bb", _NO_BURST_BUFFER, env="SBATCH_BURST_BUFFER"),
    _refuse("bbf", _NO_BURST_BUFFER, env=None),
    _row("begin", j.begin, short="b", env=None),
    _row("chdir", short="D", env=None),
    _refuse("cluster-constraint", _ONE_CLUSTER),
    _refuse("clusters", _ONE_CLUSTER, short="M", env="SBATCH_CLUSTERS SLURM_CLUSTERS", aliases=("cluster",)),
    _row("comment", v.text("comment"), env=None),
    _row("constraint", v.text("constraints"), short="C"),
    _refuse("container", _NO_OCI),
    _refuse("container-id", _NO_OCI),
    _refuse("context", "the nodes do not use SELinux", env=None),
    _flag("contiguous", v.flag(contiguous=True), env=None, support=Support.PASSED),
    _pass("core-spec", v.number("core_specification", least=0), short="S"),
    _refuse("cores-per-socket", _NO_FIELD, env=None),
    _pass("cpu-freq", v.text("cpu_frequency"), env="SBATCH_CPU_FREQ_REQ"),
    _row("cpus-per-gpu", r.cpus_per_gpu),
    _row("cpus-per-task", r.cpus_per_task, short="c", env=None),
    _row("deadline", j.deadline, env=None),
    _pass("delay-boot", j.delay_boot),
    _row("dependency", v.text("dependency"), short="d", env=None),
    _pass("distribution", r.distribution, short="m"),
    _row("error", v.text("standard_error"), short="e"),
    _row("exclude", v.listed("excluded_nodes"), short="x", env=None),
    _row("exclusive", j.exclusive, argument=_OPTIONAL),
    _row("export"),
    _refuse("export-file", _LOCAL_FILE, env=None),
    _pass("extra", v.text("extra"), env=None),
    _refuse("extra-node-info", _NO_FIELD, short="B", env=None),
    _row(
        "get-user-env",
        j.user_environment,
        argument=_OPTIONAL,
        support=Support.NO_EFFECT,
        reason="the submitting machine's environment does not travel",
    ),
    _refuse("gid", _ANOTHER_USER, env=None),
    _pass("gpu-bind", r.prefixed("tres_bind", "gres/gpu:")),
    _pass("gpu-freq", r.prefixed("tres_freq", "gpu:")),
    _row("gpus", r.gpus("tres_per_job"), short="G"),
    _row("gpus-per-node", r.gpus("tres_per_node")),
    _row("gpus-per-socket", r.gpus("tres_per_socket")),
    _row("gpus-per-task", r.gpus_per_task),
    _row("gres", r.gres),
    _pass("gres-flags", r.gres_flags),
    _here("help", short="h", env=None),
    _pass("hint", r.hint, env="SBATCH_HINT SLURM_HINT"),
    _flag("hold", v.flag(hold=True), short="H", env=None),
    _here("ignore-pbs"),
    _row("input", v.text("standard_input"), short="i"),
    _row("job-name", v.text("name"), short="J"),
    _row(
        "kill-on-invalid-dep",
        v.choice("flags", yes=["KILL_INVALID_DEPENDENCY"], no=["NO_KILL_INVALID_DEPENDENCY"]),
        env=None,
    ),
    _pass("licenses", v.text("licenses"), short="L", env=None),
    _pass("mail-type", j.mail_type, env=None),
    _pass("mail-user", v.text("mail_user"), env=None),
    _pass("mcs-label", v.text("mcs_label"), env=None),
    _row("mem", v.memory("memory_per_node"), env="SBATCH_MEM_PER_NODE"),
    _refuse("mem-bind", _IN_SCRIPT),
    _row("mem-per-cpu", v.memory("memory_per_cpu")),
    _row("mem-per-gpu", r.memory_per_gpu),
    _row("mincpus", v.number("minimum_cpus_per_node"), env=None),
    _pass("network", v.text("network")),
    _row("nice", j.nice, argument=_OPTIONAL, env=None),
    _row("no-kill", j.no_kill, short="k", argument=_OPTIONAL),
    _flag("no-requeue", v.flag(requeue=False), replaces=("requeue",)),
    _refuse("nodefile", _LOCAL_FILE + "; use --nodelist", short="F", env=None),
    _row("nodelist", v.listed("required_nodes"), short="w", env=None),
    _row("nodes", r.nodes, short="N", env=None),
    _row("ntasks", v.number("tasks"), short="n", env=None),
    _row("ntasks-per-core", v.number("tasks_per_core"), env=None),
    _row("ntasks-per-gpu", v.number("ntasks_per_tres"), env=None),
    _row("ntasks-per-node", v.number("tasks_per_node"), env=None, aliases=("tasks-per-node",)),
    _row("ntasks-per-socket", v.number("tasks_per_socket"), env=None),
    _row("ntasks-per-tres", v.number("ntasks_per_tres"), env=None),
    _pass("oom-kill-step", v.yes_no_number("oom_kill_step", 1, 0), argument=_OPTIONAL, env=None),
    _row("open-mode", j.open_mode),
    _row("output", v.text("standard_output"), short="o"),
    _flag("overcommit", v.flag(overcommit=True), short="O", support=Support.PASSED),
    _flag("oversubscribe", v.flag(shared=["oversubscribe"]), short="s", env=None, support=Support.PASSED),
    _here("parsable", env=None),
    _row("partition", v.text("partition"), short="p"),
    _pass("prefer", v.text("prefer"), env=None),
    _refuse("priority", "only operators of Slurm set a job's priority", env=None),
    _pass("profile", j.profile),
    _row(
        "propagate",
        argument=_OPTIONAL,
        env=None,
        support=Support.NO_EFFECT,
        reason="the submitting machine's resource limits do not travel",
    ),
    _row("qos", v.text("qos"), short="q"),
    _here("quiet", short="Q", env=None),
    _refuse("reboot", "the gateway decides when its nodes boot", argument=Argument.NONE, env=None),
    _flag("requeue", v.flag(requeue=True), replaces=("no-requeue",)),
    _row("reservation", v.text("reservation")),
    _refuse("resv-ports", "step management is not enabled in this Slurm", argument=_OPTIONAL, env=None),
    _pass("segment", r.segment, env=None),
    _row("signal", j.signal),
    _pass("sockets-per-node", v.number("sockets_per_node"), env=None),
    _flag("spread-job", v.flag(flags=["SPREAD_JOB"]), support=Support.PASSED),
    _refuse("stepmgr", "step management is not enabled in this Slurm", argument=Argument.NONE, env=None),
    _pass("switches", r.switches, env="SBATCH_REQ_SWITCH"),
    _here("test-only", env=None),
    _pass("thread-spec", v.number("thread_specification", least=0)),
    _pass("threads-per-core", v.number("threads_per_core")),
    _row("time", v.time_limit("time_limit"), short="t", env="SBATCH_TIMELIMIT"),
    _row("time-min", v.time_limit("time_minimum"), env=None),
    _pass("tmp", r.disk, env=None),
    _pass("tres-bind", v.text("tres_bind")),
    _pass("tres-per-task", v.text("tres_per_task")),
    _refuse("uid", _ANOTHER_USER, env=None),
    _here("usage", env=None),
    _flag("use-min-nodes", v.flag(flags=["PREFER_MINIMUM_NODE_COUNT"]), support=Support.PASSED),
    _here("verbose", short="v", env=None),
    _here("version", short="V", env=None),
    _here("wait", short="W"),
    _pass("wait-all-nodes", v.yes_no_number("wait_all_nodes", yes=True, no=False)),
    _pass("wckey", v.text("wckey")),
    _here("wrap", Argument.REQUIRED, env=None),
)
