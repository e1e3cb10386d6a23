"""SiteSlurm: a site's own cluster as the gateway's, with the interface of EmbeddedSlurm; only a slurmrestd is started.

Invariant: no file of the site is written, and none of its daemons is started or stopped; what our slurmrestd and the
process nodes read is a copy of its configuration in the gateway's directory, made anew whenever the site changes it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.daemons import Daemon
from gateway.engines import ports, slurm_programs
from gateway.engines.distribution import NO_LONGER_AS_SLURM_USER, Distribution
from gateway.engines.embedded import node_groups
from gateway.engines.rest_client import RestClient
from gateway.engines.site_conf import SiteConf
from gateway.engines.site_jobs import SiteJobs
from gateway.engines.site_partition import POWER_PROGRAMS, CloudPartition
from gateway.engines.slurmrest import SlurmRestEngine
from gateway.errors import BurstError, SchedulerRefused, SetupError
from gateway.settings import Settings, SiteSettings

_PATIENCE_S = 60.0
_TICK_S = 0.03
_REST_TIMEOUT_S = 30.0
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_COPIED = ("cgroup.conf", "gres.conf", "topology.conf", "plugstack.conf", "acct_gather.conf", "job_container.conf")
_AT_REST = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})


@dataclass(frozen=True)
class OnNodes:
    """Absolute paths on the nodes of what slurmd runs around a job."""

    prolog: str
    epilog: str


class SiteSlurm:
    """The cluster of one site. Thread-safe."""

    def __init__(self, settings: Settings, distribution: Distribution, on_nodes: OnNodes | None = None) -> None:
        if settings.site is None:
            raise ValueError("these settings name no site")
        self._settings = settings
        self._site: SiteSettings = settings.site
        self._distribution = distribution
        self._on_nodes = on_nodes
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """Release of the Slurm programs that the gateway runs; the site's slurmctld may be newer, not older."""
        return self._distribution.version

    @property
    def distribution(self) -> Distribution:
        """The Slurm programs that the gateway runs."""
        return self._distribution

    @property
    def user(self) -> str:
        """As whom the gateway acts in Slurm: this process's user."""
        return pwd.getpwuid(os.getuid()).pw_name

    @property
    def slurm_user(self) -> int:
        """uid of the site's SlurmUser, who runs our programs and writes to the spool. Raises SetupError."""
        name = self.conf().get("SlurmUser", "root")
        try:
            return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
        except KeyError:
            raise SetupError(f"this machine has no user {name}, the site's SlurmUser", hint="add it") from None

    @property
    def conf_server(self) -> str:
        """What a configless node gives to ``slurmd --conf-server``; the site must have enable_configless for that."""
        conf = self.conf()
        host, _, address = conf.get("SlurmctldHost").partition("(")
        return f"{address.rstrip(')') or host}:{conf.get('SlurmctldPort', '6817').partition('-')[0]}"

    @property
    def munge_key(self) -> bytes:
        """The key that a node needs to be one of this cluster. Raises SetupError."""
        try:
            return self._site.munge_key.read_bytes()
        except OSError as error:
            hint = "burst site install --munge-key FILE names the site's key"
            raise SetupError(f"{self._site.munge_key}: {error.strerror}", hint=hint) from error

    @property
    def node_conf(self) -> str:
        """The configuration that a process node's slurmd reads."""
        return str(self._settings.slurm_dir / "slurm.conf")

    def conf(self) -> SiteConf:
        """The site's configuration as it is now. Raises SetupError."""
        return SiteConf.read(self._site.slurm_conf.absolute())

    def partition(self) -> CloudPartition:
        """What burst.conf is to say."""
        settings = self._settings
        nodes = sum(size.max_nodes for size in settings.sizes)
        first = ports.remembered(settings.slurm_dir / "ports.json", {"nodes": nodes})["nodes"]
        return CloudPartition(
            name=self._site.partition,
            groups=node_groups(settings.sizes, first),
            programs=self._programs(),
            idle_s=settings.idle_s,
            resume_timeout_s=settings.resume_timeout_s,
            default_time_limit_min=settings.default_time_limit_min,
            max_time_limit_min=settings.max_time_limit_min,
            cli_filter=self._site.cli_filter,
        )

    def install_programs(self) -> None:
        """Write what slurm.conf names, and the spool that its SlurmUser writes to. Raises SetupError."""
        settings = self._settings
        for folder in (settings.run_dir, settings.log_dir, settings.slurm_dir / "slurmd", settings.spool_dir):
            folder.mkdir(parents=True, exist_ok=True)
        settings.secrets_dir.mkdir(mode=0o700, exist_ok=True)
        site_socket = settings.run_dir / "site.sock"
        foreign = slurm_programs.Foreign(
            self._site.partition, self.slurm_user, tuple(size.name for size in settings.sizes), self._own_programs()
        )
        slurm_programs.install(
            self._programs(), settings.spool_dir, site_socket, wait_s=settings.resume_timeout_s, foreign=foreign
        )
        settings.spool_dir.chmod(0o700)
        os.chown(settings.spool_dir, self.slurm_user, -1)

    def start(self) -> None:
        """Start our slurmrestd unless it runs; slurmctld may be away. Raises SetupError."""
        self._check()
        with self._lock:
            self.install_programs()
            self._copy_conf()
            self._revive()

    def heal(self) -> tuple[str, ...]:
        """Follow the site's configuration, and restart our slurmrestd if it died; its name if it did."""
        with self._lock:
            self._copy_conf()
            return self._revive()

    def stop(self) -> None:
        """Give the nodes, whose machines have ended, back to Slurm, then end our slurmrestd."""
        with contextlib.suppress(BurstError), contextlib.closing(self.engine()) as engine:
            ours = set(self.partition().nodes)
            up = [node.name for node in engine.nodes() if node.name in ours and not node.states & _AT_REST]
            if up and self._daemon().alive():
                engine.update_nodes(up, "POWER_DOWN_FORCE")
        self._daemon().stop()

    def engine(self) -> SlurmRestEngine:
        """An Engine for this cluster; slurmrestd knows us by our uid and tells slurmctld by munge."""
        return SlurmRestEngine(self._url, self.user, lambda: "", requeue=self._requeue)

    def jobs(self) -> SiteJobs:
        """What the site's own users put into the cloud partition."""
        return SiteJobs(
            client=RestClient(self._url, self.user, lambda: "", _REST_TIMEOUT_S),
            partition=self._site.partition,
            scontrol=(str(self._distribution.program("scontrol")),),
            squeue=(str(self._distribution.program("squeue")),),
            nodes={
                group.name: frozenset(f"{group.name}-{number}" for number in range(1, group.count + 1))
                for group in self.partition().groups
            },
            environment=self.environment(),
            default_time_limit_s=self._settings.default_time_limit_min * 60,
        )

    def environment(self) -> dict[str, str]:
        """SLURM_CONF and PATH with which Slurm's commands, run by hand, reach this cluster."""
        programs = os.pathsep.join(map(str, self._distribution.path))
        return {"SLURM_CONF": self.node_conf, "PATH": f"{programs}:{_SYSTEM_PATH}"}

    @property
    def _url(self) -> str:
        return f"unix:{self._socket}"

    @property
    def _socket(self) -> Path:
        return self._settings.run_dir / "slurmrestd.sock"

    def _own_programs(self) -> dict[str, str]:
        """What the site powers its own nodes with."""
        site = self.conf().without_ours()
        return {name: site.get(name) for name in POWER_PROGRAMS if site.get(name)}

    def _programs(self) -> dict[str, Path]:
        return slurm_programs.paths(self._settings.slurm_dir / "programs")

    def _check(self) -> None:
        if os.getuid():
            raise SetupError("the gateway of a site runs as root, as the site's slurmd does", hint="sudo burst up")
        if self._distribution.release >= NO_LONGER_AS_SLURM_USER:
            raise SetupError(
                f"slurmrestd {self.version} does not run as root",
                hint='set slurm = "private" in burst.toml, whose release is older and understood by newer slurmctlds',
            )
        if not self.conf().extended:
            directory = self._settings.directory
            raise SetupError(
                f"{self._site.slurm_conf} is not extended yet", hint=f"burst site install --dir {directory} --apply"
            )

    def _copy_conf(self) -> None:
        folder = self._settings.slurm_dir
        _write_if_new(folder / "slurm.conf", self.conf().flat() + "".join(f"{line}\n" for line in self._own()))
        for name in _COPIED:
            theirs = self._site.slurm_conf.absolute().parent / name
            if theirs.exists():
                _write_if_new(folder / name, theirs.read_text(errors="surrogateescape"))

    def _own(self) -> Iterator[str]:
        """What a process node has for itself; Slurm takes the last value of a key."""
        place, log = self._settings.slurm_dir / "slurmd", self._settings.log_dir
        yield f"PluginDir={self._distribution.plugin_dir}"
        yield f"SlurmdSpoolDir={place / '%n'}"
        yield f"SlurmdPidFile={place / '%n.pid'}"
        yield f"SlurmdLogFile={log / 'slurmd-%n.log'}"
        # Sizes are what the tariff sells; this file is not the site's, which Slurm would report.
        yield "SlurmdParameters=config_overrides"
        yield "DebugFlags=NO_CONF_HASH"
        if self._on_nodes is not None:
            yield f"Prolog={self._on_nodes.prolog}"
            yield f"Epilog={self._on_nodes.epilog}"

    def _revive(self) -> tuple[str, ...]:
        daemon = self._daemon()
        if daemon.alive():
            return ()
        self._socket.unlink(missing_ok=True)
        program = str(self._distribution.program("slurmrestd"))
        kept = {name: os.environ[name] for name in ("TZ", "LANG") if name in os.environ}
        own = {"SLURMRESTD_SECURITY": "disable_user_check", "SLURMRESTD_DEBUG": "error", "SLURM_BITSTR_LEN": "0"}
        command = [program, "-s", "openapi/slurmctld", "-a", "rest_auth/local", "-t", "8", self._url]
        daemon.start(command, env=kept | own | self.environment(), cwd=Path("/"))
        deadline = time.monotonic() + _PATIENCE_S
        while not _listens(self._socket):
            if not daemon.alive() or time.monotonic() > deadline:
                raise SetupError(f"slurmrestd does not answer: {daemon.last_words()}", hint=f"read {daemon.log}")
            time.sleep(_TICK_S)
        self._socket.chmod(0o600)
        return (daemon.name,)

    def _daemon(self) -> Daemon:
        return Daemon("slurmrestd", self._settings.run_dir, self._settings.log_dir / "slurmrestd.log")

    def _requeue(self, job_id: int) -> None:
        command = [str(self._distribution.program("scontrol")), "requeue", str(job_id)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SchedulerRefused(done.stderr.strip() or f"scontrol ended with {done.returncode}")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _write_if_new(path: Path, text: str) -> None:
    raw = text.encode(errors="surrogateescape")
    if path.exists() and path.read_bytes() == raw:
        return
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(raw)
    shutil.copymode(path, temporary) if path.exists() else None
    temporary.replace(path)
