"""Machine: the embedded parts of one gateway directory: local cloud, Slurm and object store.

Invariant: ``start`` adopts what runs and restarts what died, on the same ports; ``stop`` leaves no process, no mount
and no network.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gateway.bootstrap.sealing_key import keeper, place_of, sealer_of
from gateway.daemons import Daemon
from gateway.engines import distribution, ports
from gateway.engines.distribution import Distribution
from gateway.engines.embedded import EmbeddedSlurm, Site, own_address
from gateway.engines.site_slurm import OnNodes, SiteSlurm
from gateway.engines.slurm_conf import Form
from gateway.errors import SetupError
from gateway.identity.sealing import Sealer
from gateway.provisioning.cloud_router import CloudRouter
from gateway.provisioning.clouds import end_all, open_cloud
from gateway.provisioning.local_cloud import LocalCloud
from gateway.settings import Settings
from gateway.ssh.authority import Authority
from gateway.staging.embedded_store import EmbeddedStore
from gateway.staging.external_store import ExternalStore
from gateway.staging.job_keys import KeyIssuer
from slurm_plugins.agent.one_file import agent_text

Progress = Callable[[str], None]

AGENT_ON_NODES = "/usr/local/lib/burst/node_agent.py"
JOBS_ON_NODES = "/var/spool/burst/jobs"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Machine:
    """Everything that runs beside the gateway's own process."""

    settings: Settings
    cloud: LocalCloud
    distribution: Distribution

    @classmethod
    def prepare(cls, settings: Settings, progress: Progress) -> Machine:
        """Fetch and build what is missing, Slurm and node image at once. Raises SetupError."""
        for folder in (settings.run_dir, settings.log_dir, settings.spool_dir, settings.cloud_dir, settings.cache_dir):
            folder.mkdir(parents=True, exist_ok=True)
        settings.secrets_dir.mkdir(mode=0o700, exist_ok=True)
        with ThreadPoolExecutor(2) as pool:
            cloud = pool.submit(LocalCloud.open, settings, progress)
            found = pool.submit(distribution.find, settings.slurm, settings.cache_dir, settings.image_suite, progress)
            machine = cls(settings, cloud.result(), found.result())
        _ = machine.secret, machine.provider  # what is wrong with the sealing key or a cloud's settings is said now
        _record(settings).write_text(json.dumps(machine.facts()))
        return machine

    @classmethod
    def existing(cls, settings: Settings) -> Machine | None:
        """What ``prepare`` found or made in this directory before, untouched; None if it never did."""
        try:
            record = json.loads(_record(settings).read_text())
        except FileNotFoundError:
            return None
        cloud = LocalCloud.reopen(settings, record["form"], record["reason"])
        return cls(settings, cloud, Distribution.of_facts(record["slurm"]))

    def facts(self) -> dict[str, object]:
        """What ``existing`` makes it from again."""
        return {
            "form": self.cloud.form,
            "reason": self.cloud.reason,
            "slurm": self.distribution.facts(),
            "fingerprint": self.fingerprint,
            "sealing_key": str(place_of(self.settings).path),
        }

    @property
    def isolated(self) -> bool:
        """Whether nodes are machines of their own."""
        return self.cloud.form == "container"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the gateway listens: for people, and for nodes if that is somewhere else."""
        if self.settings.listen.is_unspecified:
            return (str(self.settings.listen),)
        return tuple(dict.fromkeys((LOOPBACK, self.node_address, str(self.settings.listen))))

    @property
    def node_address(self) -> str:
        """This computer's address for nodes."""
        return self.settings.node_address or self.cloud.address

    @cached_property
    def port(self) -> int:
        """Of the HTTP API."""
        chosen = self.settings.port
        return chosen or ports.remembered(self.settings.run_dir / "ports.json", {"api": 1})["api"]

    @property
    def url(self) -> str:
        """For people."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def node_url(self) -> str:
        """For nodes."""
        return f"http://{self.node_address}:{self.port}"

    @property
    def job_directory(self) -> str:
        """Parent of the jobs' folders on a node."""
        return JOBS_ON_NODES if self.isolated else str(self.settings.directory / "jobs")

    @property
    def job_user(self) -> str | None:
        """Whom jobs run as; None: whoever runs Slurm."""
        return "nobody" if self.isolated else None

    @property
    def slurm_programs(self) -> tuple[str, ...]:
        """Folders of Slurm's programs that a job on a process node must be told of; an image has them in place."""
        return () if self.isolated else tuple(map(str, self.distribution.path))

    def node_facts(self) -> dict[str, str]:
        """What the agent of a process node must be told, because it has no system of its own."""
        if self.isolated:
            return {}
        programs = {name: str(self.distribution.program(name)) for name in ("slurmd", "slurmstepd")}
        return {**programs, "slurm_conf": self.slurm.node_conf}

    @cached_property
    def slurm(self) -> EmbeddedSlurm | SiteSlurm:
        """The embedded cluster, or the site's."""
        wrapper = AGENT_ON_NODES if self.isolated else str(self._process_wrapper())
        if self.settings.site is not None:
            return SiteSlurm(self.settings, self.distribution, OnNodes(prolog=wrapper, epilog=wrapper))
        form: Form = "container" if self.isolated else "process"
        # The image brings PMIx, so that a plain srun starts the ranks of an MPI program.
        mpi = "pmix" if self.isolated else "none"
        head_address = self.node_address if self.isolated or self.settings.node_address else own_address()
        site = Site(form, head_address, prolog=wrapper, epilog=wrapper, mpi=mpi)
        return EmbeddedSlurm(self.settings, self.distribution, site)

    @cached_property
    def store(self) -> EmbeddedStore | ExternalStore:
        """The object store: its own, or one that is there already."""
        return EmbeddedStore(self.settings) if self.settings.store == "embedded" else ExternalStore(self.settings)

    @cached_property
    def job_keys(self) -> KeyIssuer | None:
        """What gives running jobs keys of their own to the store; None where the store cannot. Raises SetupError."""
        if isinstance(self.store, EmbeddedStore):
            return None
        return self.store.roles(self.secret, self.site_id)

    @property
    def site_id(self) -> str:
        """Of this directory alone, where names of several gateways meet."""
        return self.fingerprint[:16]

    @property
    def audience(self) -> str:
        """The gateway's name in every signature."""
        return f"burst/{self.settings.name}/{self.site_id}"

    @cached_property
    def node_authority(self) -> Authority:
        """Who certifies people's keys for its nodes; it is not the one by which the gateway itself logs in to hosts."""
        private = self.settings.secrets_dir / "node-ca.key"
        return Authority.kept(private, self.settings.directory / "node-ca.pub", keeper(self.sealer))

    @cached_property
    def provider(self) -> CloudRouter:
        """The local cloud and those of the settings, through libcloud. Raises SetupError."""
        others = {cloud.name: open_cloud(cloud, self.settings, keeper(self.sealer)) for cloud in self.settings.clouds}
        return CloudRouter(self.cloud.provider(), others)

    @cached_property
    def cluster(self) -> str:
        """The tag of this gateway's machines: two gateways of one name may share a cloud account."""
        return f"{self.settings.name}-{self.fingerprint[:12]}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, hex, of the secret; recorded, so that machines can be ended when the sealing key is lost."""
        try:
            return hashlib.sha256(self.secret).hexdigest()
        except SetupError:
            record = _record(self.settings)
            if record.exists() and (known := json.loads(record.read_text()).get("fingerprint")):
                return str(known)
            raise

    @cached_property
    def secret(self) -> bytes:
        """The key that join tokens are derived from, so that a repeated launch invites the same machine."""
        return keeper(self.sealer)(self.settings.secrets_dir / "site.key", lambda: secrets.token_bytes(32))

    @cached_property
    def sealer(self) -> Sealer:
        """What encrypts the gateway's secrets at rest; its key is in no database. Raises SetupError."""
        return sealer_of(self.settings)

    def start(self, progress: Progress) -> None:
        """Bring up Slurm and the store, or adopt them."""
        progress(f"starting Slurm {self.slurm.version} ({self.distribution.origin})")
        self.slurm.start()
        progress("starting the object store")
        self.store.start((self.cloud.address,))

    def heal(self) -> tuple[str, ...]:
        """Restart what died; the names of what did."""
        return (*self.slurm.heal(), *(["store"] if self.store.heal() else []))

    def stop(self) -> list[str]:
        """End nodes, Slurm, store and network; the names of what ran. Raises CloudError if machines may be left."""
        nodes = [machine.node for machine in self.cloud.provider().machines(self.cluster)]
        daemons = [daemon.stem for daemon in self.settings.run_dir.glob("*.pid") if self._runs(daemon.stem)]
        self.cloud.teardown()
        self.slurm.stop()
        self.store.stop()
        # Last, so that a cloud that is silent keeps nothing else running.
        nodes += [
            node
            for cloud in self.settings.clouds
            for node in end_all(open_cloud(cloud, self.settings, keeper(self.sealer)), self.cluster)
        ]
        return [*sorted(nodes), *sorted(daemons)]

    def _runs(self, name: str) -> bool:
        return Daemon(name, self.settings.run_dir, self.settings.log_dir / f"{name}.log").alive()

    def _process_wrapper(self) -> Path:
        """slurmd's Prolog and Epilog of process nodes: the agent, told which node's folder is its own."""
        agent, wrapper = self.settings.run_dir / "node_agent.py", self.settings.run_dir / "node-agent"
        agent.write_text(agent_text())
        root = self.settings.cloud_dir / "%n"
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{agent}" --root "{root}"\n')
        wrapper.chmod(0o755)
        return wrapper


def key_of_running(settings: Settings) -> Path | None:
    """Which file the gateway of this directory had its sealing key from when it was last started."""
    record = _record(settings)
    known = json.loads(record.read_text()).get("sealing_key") if record.exists() else None
    return Path(known) if known else None


def _record(settings: Settings) -> Path:
    return settings.run_dir / "machine.json"
