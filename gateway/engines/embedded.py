"""EmbeddedSlurm: a private, real Slurm in one directory: munged, slurmctld, slurmrestd; no node until one is wanted.

Invariant: its daemons outlive the gateway; starting it again adopts what runs and restarts what died, on the same ports
and with the same keys, and stopping it leaves no process.
"""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import OctKey

from gateway.engines import ports, slurm_programs
from gateway.engines.distribution import NO_LONGER_AS_SLURM_USER, Distribution
from gateway.engines.slurm_conf import HEAD_CONF, ClusterPlan, Form, NodeGroup, render
from gateway.engines.slurm_daemons import SlurmDaemons
from gateway.engines.slurmrest import SlurmRestEngine
from gateway.errors import BurstError, SchedulerRefused, SetupError
from gateway.settings import CREDIT, SOCKET_PATH_MAX, Settings, SizeSettings

_LOOPBACK = "127.0.0.1"
_TOKEN_LIFE_S = 600
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def own_address() -> str:
    """The IPv4 address that this computer's name has here: where Slurm's daemons listen when told not to on every one.

    It is 127.0.0.1 on some computers, 127.0.1.1 on Debian's, and one of the network's on others.
    """
    try:
        return str(socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)[0][4][0])
    except OSError:
        return _LOOPBACK


@dataclass(frozen=True)
class Site:
    """What depends on the form of the nodes. ``prolog`` and ``epilog`` are absolute paths on the nodes."""

    form: Form
    head_address: str = field(default_factory=own_address)
    """Where nodes reach slurmctld: the bridge's address in container form."""
    prolog: str | None = None
    epilog: str | None = None
    mpi: str = "none"
    """What srun(1) does without ``--mpi``; "pmix" only where every node has libpmix, else every srun fails."""


class EmbeddedSlurm:
    """The embedded cluster of one gateway directory. Thread-safe."""

    def __init__(self, settings: Settings, distribution: Distribution, site: Site) -> None:
        self._settings = settings
        self._distribution = distribution
        self._site = site
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """Slurm's release, e.g. "24.11.5"."""
        return self._distribution.version

    @property
    def user(self) -> str:
        """SlurmUser: this process's user, by name or, where it has none, by uid."""
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return str(os.getuid())

    @property
    def url(self) -> str:
        """Address of slurmrestd."""
        return f"http://{_LOOPBACK}:{self._ports()['slurmrestd']}"

    @property
    def conf_server(self) -> str:
        """What a configless node gives to ``slurmd --conf-server``."""
        return f"{self._site.head_address}:{self._ports()['slurmctld']}"

    @property
    def munge_key(self) -> bytes:
        """The key that a node needs to be one of this cluster."""
        return self._key("munge.key").read_bytes()

    def start(self) -> None:
        """Bring it up, or adopt what runs; return when slurmctld answers through slurmrestd. Takes under a second.

        Raises SetupError, with the end of the log of the daemon that failed.
        """
        self._check()
        with self._lock:
            if self._prepare():
                # Daemons read their configuration once; jobs and nodes survive a restart of slurmctld.
                self._daemons().stop(("slurmrestd", "slurmctld"))
            self._daemons().revive(self._answers)

    def heal(self) -> tuple[str, ...]:
        """Restart the daemons that died; return their names. Costs three looks into /proc when all live."""
        with self._lock:
            return self._daemons().revive(self._answers)

    def stop(self) -> None:
        """End all its daemons and wait until they are gone. Process nodes are their provider's to end."""
        with self._lock:
            self._daemons().stop()

    def engine(self) -> SlurmRestEngine:
        """An Engine for this cluster."""
        return SlurmRestEngine(self.url, self.user, self.token, requeue=self._requeue)

    def token(self, lifespan_s: int = _TOKEN_LIFE_S) -> str:
        """A JWT for SlurmUser, signed here with the cluster's own key (rest_auth/jwt, claim ``sun``)."""
        now = int(time.time())
        key = OctKey.import_key(self._key("jwt.key").read_bytes())
        return jwt.encode({"alg": "HS256"}, {"iat": now, "exp": now + lifespan_s, "sun": self.user}, key)

    def environment(self) -> dict[str, str]:
        """SLURM_CONF and PATH with which Slurm's commands, run by hand, reach this cluster."""
        programs = os.pathsep.join(map(str, self._distribution.path))
        return {"SLURM_CONF": str(self._settings.slurm_dir / HEAD_CONF), "PATH": f"{programs}:{_SYSTEM_PATH}"}

    @property
    def node_conf(self) -> str:
        """Process form: the configuration that a node's slurmd reads."""
        return self.environment()["SLURM_CONF"]

    def slurmd_command(self, node: str) -> list[str]:
        """Process form: the command that is node ``node`` (in the foreground, with ``environment()``).

        ``-b``: else slurmctld takes the machine's boot for the node's, which lies before its resume request.
        """
        slurmd, stepd = (str(self._distribution.program(name)) for name in ("slurmd", "slurmstepd"))
        return [slurmd, "-D", "-b", "-N", node, "-f", self.environment()["SLURM_CONF"], "-d", stepd]

    def _check(self) -> None:
        for path in (self._socket("munge"), self._socket("site")):
            if len(os.fsencode(path)) > SOCKET_PATH_MAX:
                raise SetupError(
                    f"{path} is longer than {SOCKET_PATH_MAX} bytes, the longest path of a Unix socket",
                    hint="choose a directory with a shorter path: burst up --dir DIR",
                )
        if self._distribution.release >= NO_LONGER_AS_SLURM_USER and os.getuid():
            raise SetupError(
                f"slurmrestd {self.version} does not run as the cluster's only user",
                hint='set slurm = "private" in burst.toml, or start the gateway as root',
            )

    def _prepare(self) -> bool:
        """Folders, keys, ports, programs, configuration; whether the configuration changed."""
        settings = self._settings
        for folder in (settings.run_dir, settings.log_dir, settings.slurm_dir / "slurmd", settings.spool_dir):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (settings.secrets_dir, settings.slurm_dir / "state"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep(self._key("munge.key"), lambda: secrets.token_bytes(128))
        _keep(self._key("jwt.key"), lambda: secrets.token_bytes(32))
        slurm_programs.install(
            self._programs(), settings.spool_dir, self._socket("site"), wait_s=settings.resume_timeout_s
        )
        written = [_write_if_new(settings.slurm_dir / name, text) for name, text in render(self._plan()).items()]
        return any(written)

    def _plan(self) -> ClusterPlan:
        settings, known = self._settings, self._ports()
        return ClusterPlan(
            name=settings.name,
            directory=settings.slurm_dir,
            log_dir=settings.log_dir,
            jwt_key=self._key("jwt.key"),
            munge_socket=self._socket("munge"),
            plugin_dir=self._distribution.plugin_dir,
            form=self._site.form,
            head_host=socket.gethostname().split(".")[0],
            head_address=self._site.head_address,
            slurmctld_port=known["slurmctld"],
            user=self.user,
            groups=node_groups(settings.sizes, known.get("nodes")),
            programs=self._programs(),
            prolog=self._site.prolog,
            epilog=self._site.epilog,
            mpi=self._site.mpi,
            idle_s=settings.idle_s,
            resume_timeout_s=settings.resume_timeout_s,
            default_time_limit_min=settings.default_time_limit_min,
            max_time_limit_min=settings.max_time_limit_min,
            memory_percent=settings.node_memory_percent,
        )

    def _daemons(self) -> SlurmDaemons:
        return SlurmDaemons(
            self._plan(),
            self._distribution,
            self._settings.run_dir,
            self._key("munge.key"),
            (_LOOPBACK, self._ports()["slurmrestd"]),
            self.environment(),
        )

    def _ports(self) -> dict[str, int]:
        nodes = sum(size.max_nodes for size in self._settings.sizes) if self._site.form == "process" else 0
        wanted = {"slurmctld": 1, "slurmrestd": 1, "nodes": nodes}
        return ports.remembered(self._settings.slurm_dir / "ports.json", wanted)

    def _programs(self) -> dict[str, Path]:
        return slurm_programs.paths(self._settings.slurm_dir / "programs")

    def _socket(self, name: str) -> Path:
        return self._settings.run_dir / f"{name}.sock"

    def _key(self, name: str) -> Path:
        return self._settings.secrets_dir / name

    def _answers(self) -> bool:
        engine = self.engine()
        try:
            return engine.ready()
        except BurstError:
            return False
        finally:
            engine.close()

    def _requeue(self, job_id: int) -> None:
        """By scontrol: slurmrestd has no call for it. Raises SchedulerRefused with Slurm's words."""
        command = [str(self._distribution.program("scontrol")), "requeue", str(job_id)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SchedulerRefused(done.stderr.strip() or f"scontrol ended with {done.returncode}")


def weight_of(size: SizeSettings) -> int:
    """In Slurm's order of nodes; a price that is not yet known counts as a credit a core."""
    return max(1, (size.price_ucr_per_hour or size.cores * CREDIT) // 1000)


def node_groups(sizes: Iterable[SizeSettings], first_port: int | None) -> tuple[NodeGroup, ...]:
    """The nodes of each size, the cheap ones first in Slurm's order; with ports in a row where they need them."""
    groups = []
    for size in sizes:
        group = NodeGroup(
            name=size.name,
            count=size.max_nodes,
            cpus=size.cores,
            memory_mb=size.memory_mb,
            gpus=size.gpus,
            gpu_files=size.gpu_files,
            weight=weight_of(size),
            first_port=first_port,
            gpu_type=size.gpu_type,
            kept=size.min_nodes,
        )
        groups.append(group)
        first_port = None if first_port is None else first_port + size.max_nodes
    return tuple(groups)


def _keep(path: Path, make: Callable[[], bytes]) -> None:
    """Write a secret, mode 0600, unless it is there; whole or not at all."""
    if path.exists():
        return
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(make())
    temporary.replace(path)


def _write_if_new(path: Path, text: str) -> bool:
    """Whether the file did not have this text before."""
    if path.exists() and path.read_text() == text:
        return False
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)
    return True
