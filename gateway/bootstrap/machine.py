"""Machine: the embedded parts of one gateway directory: local cloud, Slurm and object store.

Invariant: ``start`` adopts what runs and restarts what died, on the same ports; ``stop`` leaves no process, no mount
and no network.
"""

from __future__ import annotations

import secrets
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import slurm_plugins
from gateway.engines import distribution, ports
from gateway.engines.distribution import Distribution
from gateway.engines.embedded import EmbeddedSlurm, Site
from gateway.errors import SetupError
from gateway.provisioning.libcloud_provider import LibcloudProvider, local_provider
from gateway.provisioning.node_host import NodeHost
from gateway.provisioning.node_image import NodeImage
from gateway.provisioning.choose_host import choose_host
from gateway.settings import Settings
from gateway.staging.embedded_store import EmbeddedStore

Progress = Callable[[str], None]

AGENT = Path(slurm_plugins.__file__).with_name("node_agent.py")
AGENT_ON_NODES = "/usr/local/lib/burst/node_agent.py"
JOBS_ON_NODES = "/var/spool/burst/jobs"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Machine:
    """Everything that runs beside the gateway's own process."""

    settings: Settings
    host: NodeHost
    why: str
    """Why the nodes have this form."""
    distribution: Distribution

    @classmethod
    def prepare(cls, settings: Settings, progress: Progress) -> Machine:
        """Fetch and build what is missing, Slurm and node image at once. Raises SetupError."""
        for folder in (settings.run_dir, settings.log_dir, settings.spool_dir, settings.cloud_dir, settings.cache_dir):
            folder.mkdir(parents=True, exist_ok=True)
        settings.secrets_dir.mkdir(mode=0o700, exist_ok=True)
        image = NodeImage(settings.cache_dir, settings.image_suite, settings.image_packages)
        host, why = choose_host(settings.nodes, settings.cloud_dir, image)
        with ThreadPoolExecutor(2) as pool:
            building = pool.submit(host.prepare, progress)
            found = pool.submit(
                distribution.find, settings.slurm, settings.cache_dir, settings.image_suite, progress
            )
            building.result()
            return cls(settings, host, why, found.result())

    @property
    def isolated(self) -> bool:
        """Whether nodes are machines of their own."""
        return self.host.form == "container"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the gateway listens: for people, and for nodes if that is somewhere else."""
        return (LOOPBACK, self.host.address) if self.host.address != LOOPBACK else (LOOPBACK,)

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
        return f"http://{self.host.address}:{self.port}"

    @property
    def job_directory(self) -> str:
        """Parent of the jobs' folders on a node."""
        return JOBS_ON_NODES if self.isolated else str(self.settings.directory / "jobs")

    @property
    def job_user(self) -> str | None:
        """Whom jobs run as; None: whoever runs Slurm."""
        return "nobody" if self.isolated else None

    @cached_property
    def slurm(self) -> EmbeddedSlurm:
        """The embedded cluster."""
        wrapper = AGENT_ON_NODES if self.isolated else str(self._process_wrapper())
        site = Site(self.host.form, self.host.address, prolog=wrapper, epilog=wrapper)
        return EmbeddedSlurm(self.settings, self.distribution, site)

    @cached_property
    def store(self) -> EmbeddedStore:
        """The embedded object store."""
        return EmbeddedStore(self.settings, node_address=self.host.address)

    @cached_property
    def provider(self) -> LibcloudProvider:
        """The local cloud, through libcloud."""
        return local_provider(self.settings, self.host)

    @cached_property
    def secret(self) -> bytes:
        """The key that join tokens are derived from, so that a repeated launch invites the same machine."""
        path = self.settings.secrets_dir / "site.key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_bytes(secrets.token_bytes(32))
        return path.read_bytes()

    def start(self, progress: Progress) -> None:
        """Bring up Slurm and the store, or adopt them."""
        progress(f"starting Slurm {self.slurm.version} ({self.distribution.origin})")
        self.slurm.start()
        progress("starting the object store")
        self.store.start()

    def heal(self) -> tuple[str, ...]:
        """Restart what died; the names of what did."""
        return (*self.slurm.heal(), *self.store.heal())

    def stop(self) -> None:
        """End nodes, Slurm, store and network."""
        for machine in self.provider.machines(self.settings.name):
            self.provider.destroy(machine.id)
        self.slurm.stop()
        self.store.stop()
        self.host.teardown()

    def _process_wrapper(self) -> Path:
        """slurmd's Prolog and Epilog of process nodes: the agent, told which node's folder is its own."""
        path = self.settings.run_dir / "node-agent"
        root = self.settings.cloud_dir / "%n"
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{AGENT}" --root "{root}"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        return path


def require(condition: object, detail: str, hint: str) -> None:
    """Raise SetupError unless ``condition``."""
    if not condition:
        raise SetupError(detail, hint=hint)
