"""Site: a gateway of its own for one measure, in a temporary folder, with a user who has credit enough."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.bootstrap.lifecycle import down, up
from gateway.bootstrap.machine import Machine
from gateway.client.profile import Profile
from gateway.client.session import Session
from gateway.settings import Settings


@dataclass(frozen=True)
class Site:
    """A running gateway and the login of its demo user."""

    settings: Settings
    machine: Machine
    profile: Profile

    @property
    def form(self) -> str:
        """ "container" or "process"."""
        return self.machine.cloud.form

    @property
    def slurmctld_log(self) -> Path:
        """What slurmctld tells."""
        return self.settings.log_dir / "slurmctld.log"

    def scontrol(self, *words: str) -> None:
        """Tell slurmctld something."""
        command = [str(self.machine.distribution.program("scontrol")), *words]
        subprocess.run(command, env=self.machine.slurm.environment(), check=True)


@contextmanager
def running(nodes: str, idle_s: int = 1) -> Iterator[Site]:
    """A gateway for the time of a ``with``; ``nodes``: auto, container or process."""
    # Not TMPDIR: Unix sockets have short names.
    with tempfile.TemporaryDirectory(prefix="burst-bench-", dir="/tmp") as folder:
        directory = Path(folder)
        directory.chmod(0o711)
        try:
            facts = up(directory, {"nodes": nodes, "idle_s": str(idle_s), "demo_credits": "1e6"}, say)
            settings = Settings.load(directory)
            machine = Machine.existing(settings)
            assert machine is not None  # noqa: S101 - up made it
            password = Path(facts["users"]["demo"]).read_text()
            with Session.login(facts["url"], "demo", password) as session:
                yield Site(settings, machine, session.profile)
        finally:
            down(directory, say)


def say(text: str) -> None:
    """Progress, for who watches."""
    print(f"  {text}", flush=True)
