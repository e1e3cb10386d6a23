"""EmbeddedSlurm: a private, real Slurm in one directory: munged, slurmctld, slurmrestd, and no node until one is wanted.

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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import OctKey

from gateway.daemons import Daemon
from gateway.engines import ports, slurm_programs
from gateway.engines.distribution import Distribution
from gateway.engines.slurm_conf import HEAD_CONF, ClusterPlan, Form, NodeGroup, render
from gateway.engines.slurmrest import SlurmRestEngine
from gateway.errors import BurstError, SchedulerRefused, SetupError
from gateway.settings import SOCKET_PATH_MAX, Settings, SizeSettings

_LOOPBACK = "127.0.0.1"
_TICK_S = 0.03
_PATIENCE_S = 60.0
_TOKEN_LIFE_S = 600
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OWN_USER_SINCE = (25, 5)
"""From this release on slurmrestd refuses, whatever it is told, to run as SlurmUser."""


@dataclass(frozen=True)
class Site:
    """What depends on the form of the nodes. ``prolog`` and ``epilog`` are absolute paths on the nodes."""

    form: Form
    head_address: str = _LOOPBACK
    """Where nodes reach slurmctld: the bridge's address in container form."""
    prolog: str | None = None
    epilog: str | None = None
    mpi: str = "none"


class EmbeddedSlurm:
    """The embedded cluster of one gateway directory. Thread-safe."""

    def __init__(self, settings: Settings, distribution: Distribution, site: Site) -> None:
        self._settings = settings
        self._distribution = distribution
        self._site = site
        self._lock = threading.Lock()
        log = settings.log_dir
        self._munged, self._slurmctld, self._slurmrestd = (
            Daemon(name, settings.run_dir, log / f"{name}.log") for name in ("munged", "slurmctld", "slurmrestd")
        )

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
        """slurmrestd's address."""
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
        """Bring it up, or adopt what runs; return when slurmctld answers through slurmrestd. Takes about a second.

        Raises SetupError, with the end of the log of the daemon that failed.
        """
        self._check_paths()
        with self._lock:
            changed = self._prepare()
            if changed:
                # Daemons read their configuration once; jobs and nodes survive a restart of slurmctld.
                self._slurmrestd.stop()
                self._slurmctld.stop()
            self._revive()

    def heal(self) -> tuple[str, ...]:
        """Restart the daemons that died; return their names. Costs three looks into /proc when all live."""
        with self._lock:
            return self._revive()

    def stop(self) -> None:
        """End all its daemons and wait until they are gone. Process nodes are their provider's to end."""
        with self._lock:
            for daemon in (self._slurmrestd, self._slurmctld, self._munged):
                daemon.stop()

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

    def slurmd_command(self, node: str) -> list[str]:
        """Process form: the command that is node ``node`` (in the foreground, with ``environment()``).

        ``-b``: else slurmctld takes the machine's boot for the node's, which lies before its resume request.
        """
        slurmd, stepd = (str(self._distribution.program(name)) for name in ("slurmd", "slurmstepd"))
        return [slurmd, "-D", "-b", "-N", node, "-f", self.environment()["SLURM_CONF"], "-d", stepd]

    # ------------------------------------------------------------------ preparation

    def _check_paths(self) -> None:
        for path in (self._munge_socket, self._site_socket):
            if len(os.fsencode(path)) > SOCKET_PATH_MAX:
                raise SetupError(
                    f"{path} is longer than {SOCKET_PATH_MAX} bytes, the longest path of a Unix socket",
                    hint="choose a directory with a shorter path: burst up --dir DIR",
                )
        if self._distribution.release >= _OWN_USER_SINCE and os.getuid():
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
        files = render(self._plan())
        return any([_write_if_new(settings.slurm_dir / name, text) for name, text in files.items()])

    def _plan(self) -> ClusterPlan:
        settings, known = self._settings, self._ports()
        return ClusterPlan(
            name=settings.name,
            directory=settings.slurm_dir,
            log_dir=settings.log_dir,
            jwt_key=self._key("jwt.key"),
            munge_socket=self._munge_socket,
            plugin_dir=self._distribution.plugin_dir,
            form=self._site.form,
            head_host=socket.gethostname().split(".")[0],
            head_address=self._site.head_address,
            slurmctld_port=known["slurmctld"],
            user=self.user,
            groups=node_groups(settings.sizes, known.get("nodes")),
            programs=slurm_programs.install(
                settings.slurm_dir / "programs", settings.spool_dir, self._site_socket, settings.resume_timeout_s
            ),
            prolog=self._site.prolog,
            epilog=self._site.epilog,
            mpi=self._site.mpi,
            idle_s=settings.idle_s,
            resume_timeout_s=settings.resume_timeout_s,
            default_time_limit_min=settings.default_time_limit_min,
            max_time_limit_min=settings.max_time_limit_min,
        )

    def _ports(self) -> dict[str, int]:
        nodes = sum(size.max_nodes for size in self._settings.sizes) if self._site.form == "process" else 0
        return ports.remembered(
            self._settings.slurm_dir / "ports.json", {"slurmctld": 1, "slurmrestd": 1, "nodes": nodes}
        )

    @property
    def _munge_socket(self) -> Path:
        return self._settings.run_dir / "munge.sock"

    @property
    def _site_socket(self) -> Path:
        return self._settings.run_dir / "site.sock"

    def _key(self, name: str) -> Path:
        return self._settings.secrets_dir / name

    # ------------------------------------------------------------------ daemons

    def _revive(self) -> tuple[str, ...]:
        """Start what does not run, each after what it needs answers."""
        started = [
            daemon.name
            for daemon, begin, ready in (
                (self._munged, self._begin_munged, self._munged_ready),
                (self._slurmctld, self._begin_slurmctld, self._slurmctld_ready),
                (self._slurmrestd, self._begin_slurmrestd, self._slurmrestd_ready),
            )
            if _revived(daemon, begin, ready)
        ]
        if started:
            _wait(self._slurmctld, self._answers)
        return tuple(started)

    def _begin_munged(self) -> None:
        slurm_dir = self._settings.slurm_dir
        options = {
            "key-file": self._key("munge.key"),
            "socket": self._munge_socket,
            "pid-file": slurm_dir / "munged.pid",
            "seed-file": slurm_dir / "munge.seed",
            "num-threads": 8,
        }
        # --force: a folder of the directory may be writable for a group, and a killed munged leaves its socket.
        words = [f"--{name}={value}" for name, value in options.items()]
        self._run(self._munged, ["--foreground", "--force", *words])

    def _begin_slurmctld(self) -> None:
        self._run(self._slurmctld, ["-D"])

    def _begin_slurmrestd(self) -> None:
        # Without slurmdbd the default plugins are fatal. SLURM_JWT=daemon: it acts with its callers' tokens only.
        address = self.url.removeprefix("http://")
        arguments = ["-s", "openapi/slurmctld", "-a", "rest_auth/jwt", "-t", "8", address]
        extra = {"SLURM_JWT": "daemon"}
        if self._distribution.release >= _OWN_USER_SINCE:
            self._slurmrestd.start(self._as_nobody("slurmrestd", arguments), env=self._daemon_environment() | extra)
            return
        # It runs as SlurmUser, the only user here; that is what this release calls "disable_user_check".
        self._run(self._slurmrestd, arguments, extra | {"SLURMRESTD_SECURITY": "disable_user_check"})

    def _as_nobody(self, name: str, arguments: Iterable[str]) -> list[str]:
        """A command that runs as nobody and gets its configuration as an open file, as it may not enter our folder."""
        conf = self._settings.slurm_dir / "rest.conf"
        conf.write_text("".join((self._settings.slurm_dir / part).read_text() for part in ("slurm.conf", HEAD_CONF)
                                ).replace("Include slurm.conf\n", ""))  # fmt: skip
        script = 'exec 3<"$1"; shift; SLURM_CONF=/proc/self/fd/3; export SLURM_CONF; exec "$@"'
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        return ["/bin/sh", "-c", script, "sh", str(conf), *drop, str(self._distribution.program(name)), *arguments]

    def _run(self, daemon: Daemon, arguments: Iterable[str], extra: Mapping[str, str] | None = None) -> None:
        program = str(self._distribution.program(daemon.name))
        daemon.start([program, *arguments], env=self._daemon_environment() | dict(extra or {}), cwd=Path("/"))

    def _daemon_environment(self) -> dict[str, str]:
        """Only what Slurm needs: the gateway's own environment may hold secrets, and slurmctld's programs inherit it."""
        kept = {name: os.environ[name] for name in ("TZ", "LANG") if name in os.environ}
        return kept | self.environment()

    def _munged_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._munge_socket)) == 0

    def _slurmctld_ready(self) -> bool:
        return _listens(self._site.head_address, self._ports()["slurmctld"])

    def _slurmrestd_ready(self) -> bool:
        return _listens(_LOOPBACK, self._ports()["slurmrestd"])

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
        command = [self._distribution.program("scontrol"), "requeue", str(job_id)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SchedulerRefused(done.stderr.strip() or f"scontrol ended with {done.returncode}")


def node_groups(sizes: Iterable[SizeSettings], first_port: int | None) -> tuple[NodeGroup, ...]:
    """The nodes of each size, the cheap ones first in Slurm's order; with ports in a row where they need them."""
    groups = []
    for size in sizes:
        groups.append(
            NodeGroup(
                name=size.name,
                count=size.max_nodes,
                cpus=size.cores,
                memory_mb=size.memory_mb,
                gpus=size.gpus,
                weight=max(1, round(size.credits_per_hour * 1000)),
                first_port=first_port,
            )
        )
        first_port = None if first_port is None else first_port + size.max_nodes
    return tuple(groups)


def _revived(daemon: Daemon, begin: Callable[[], None], ready: Callable[[], bool]) -> bool:
    if daemon.alive():
        return False
    begin()
    _wait(daemon, ready)
    return True


def _wait(daemon: Daemon, ready: Callable[[], bool]) -> None:
    """Return once ``ready``; raise SetupError with its last words if the daemon ends or takes too long."""
    deadline = time.monotonic() + _PATIENCE_S
    while not ready():
        if not daemon.alive():
            raise SetupError(f"{daemon.name} ended: {daemon.last_words()}", hint=f"read {daemon.log}")
        if time.monotonic() > deadline:
            raise SetupError(f"{daemon.name} does not answer after {_PATIENCE_S:.0f} s", hint=f"read {daemon.log}")
        time.sleep(_TICK_S)


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


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
