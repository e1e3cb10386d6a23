"""Fixtures: real embedded Slurm clusters, whose nodes are real slurmds on this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
import pytest
from process_site import ProcessSite
from real_sshd import sshd_in

from gateway.daemons import Daemon
from gateway.engines import distribution
from gateway.engines.commands import SlurmCommandsEngine
from gateway.engines.distribution import Distribution
from gateway.engines.embedded import EmbeddedSlurm, Site
from gateway.engines.engine import Engine
from gateway.engines.login_node import LoginNode
from gateway.engines.native import PyslurmEngine
from gateway.errors import SetupError
from gateway.settings import Settings, SizeSettings
from gateway.ssh.authority import Authority, make_private_key

SIZES = (
    SizeSettings(name="small", cores=2, memory_mb=1024, credits_per_hour=1.2, max_nodes=6),
    SizeSettings(name="gpu", cores=4, memory_mb=4096, gpus=2, credits_per_hour=30.0, max_nodes=1),
)


@dataclass(frozen=True)
class Cluster:
    """A running cluster, what answers its programs, and a folder that any user's job may write to."""

    settings: Settings
    slurm: EmbeddedSlurm
    site: ProcessSite
    work: Path

    def daemon(self, name: str) -> Daemon:
        """munged, slurmctld or slurmrestd."""
        return Daemon(name, self.settings.run_dir, self.settings.log_dir / f"{name}.log")

    def processes(self) -> list[psutil.Process]:
        """Live processes whose command line names the cluster's folder, and their children."""
        return processes_of(self.settings.directory)


def processes_of(directory: Path) -> list[psutil.Process]:
    """Live processes that work on ``directory``, by command line or by environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if alive and process.pid != os.getpid() and any(str(directory) in word for word in words):
            found.append(process)
    return found


@contextmanager
def cluster_in(directory: Path, slurm_programs: Distribution, **options: object) -> Iterator[Cluster]:
    """A cluster in ``directory`` for the time of a ``with``."""
    settings = Settings(directory=directory, sizes=SIZES, **{"idle_s": 300, "resume_timeout_s": 60, **options})
    slurm = EmbeddedSlurm(settings, slurm_programs, Site("process"))
    slurm.start()
    with tempfile.TemporaryDirectory(prefix="burst-work-") as work:
        Path(work).chmod(0o777)
        site = ProcessSite(settings, slurm)
        site.start()
        try:
            yield Cluster(settings, slurm, site, Path(work))
        finally:
            site.stop()
            slurm.stop()


@pytest.fixture(scope="session")
def slurm_programs() -> Distribution:
    """The machine's own Slurm, or that of Debian's SLURM_SUITE (else trixie), fetched once into BURST_CACHE."""
    cache = Path(os.environ.get("BURST_CACHE", Path(tempfile.gettempdir(), "burst-cache")))
    suite = os.environ.get("SLURM_SUITE")
    return distribution.find("private" if suite else "auto", cache, suite or "trixie", print)


@pytest.fixture(scope="session")
def cluster(slurm_programs: Distribution) -> Iterator[Cluster]:
    """One cluster for all tests that leave it as it was; jobs of other users may enter its folder."""
    with tempfile.TemporaryDirectory(prefix="burst-slurm-") as directory:
        Path(directory).chmod(0o711)
        with cluster_in(Path(directory), slurm_programs) as running:
            yield running


@pytest.fixture
def own_cluster(slurm_programs: Distribution) -> Iterator[Cluster]:
    """A cluster for a test that breaks it."""
    # A short name: slurmstepd's socket lies deep in it, and a socket's path has at most 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="burst-own-") as folder,
        cluster_in(Path(folder), slurm_programs, idle_s=3) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def login_node(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginNode]:
    """A real sshd that trusts an authority of the gateway's, on a host that has Slurm's commands."""
    authority = Authority(make_private_key())
    with sshd_in(tmp_path_factory.mktemp("sshd"), trusted=authority.public_line) as sshd:
        identity = partial(authority.identity, sshd.door.user, "contract")
        environment = cluster.slurm.environment()
        login = LoginNode(sshd.door, lambda: identity(datetime.now(UTC)), environment)
        yield login
        login.close()


@pytest.fixture(scope="session", params=["slurmrest", "commands", "pyslurm"])
def engine(request: pytest.FixtureRequest, cluster: Cluster) -> Engine:
    """Every adapter of the port, on the same cluster."""
    adapters: dict[str, Callable[[], Engine]] = {
        "slurmrest": cluster.slurm.engine,
        "commands": lambda: SlurmCommandsEngine(request.getfixturevalue("login_node")),
        "pyslurm": lambda: _pyslurm(cluster),
    }
    return adapters[request.param]()


def _pyslurm(cluster: Cluster) -> PyslurmEngine:
    engine = PyslurmEngine(cluster.slurm.environment(), os.environ.get("PYSLURM_PYTHON", sys.executable))
    try:
        engine.start()
    except SetupError as error:
        pytest.skip(error.detail)
    return engine
