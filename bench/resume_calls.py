"""How soon ResumeProgram returns to slurmctld, which waits for it, when a job needs a thousand nodes.

Invariant: what is started is the very program that slurm.conf names, start of its interpreter included, with the
arguments and the file that slurmctld gives it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bench.site import Site, running
from gateway.daemons import Daemon
from gateway.engines.slurm_programs import paths

NODES = 1000
HOSTLIST = f"bench-[1-{NODES}]"
"""Of a size that the gateway has not: it reads the whole request, and starts nothing."""


@dataclass(frozen=True)
class Returns:
    """Seconds of each call, sorted."""

    alive: list[float]
    dead: list[float]
    nothing: list[float]
    """A shell script that does nothing: what starting a program takes here at least."""


def measure(site: Site, calls: int = 250) -> Returns:
    """First with the gateway, which is then stopped."""
    program = paths(site.settings.slurm_dir / "programs")["ResumeProgram"]
    with _resume_file(site) as environment, _doing_nothing(site) as nothing:
        idle = _calls(nothing, environment, calls)
        alive = _calls(program, environment, calls)
        Daemon("gateway", site.settings.run_dir, site.settings.log_dir / "gateway.log").stop()
        dead = _calls(program, environment, calls)
    return Returns(alive, dead, idle)


def percentile(seconds: list[float], percent: int) -> float:
    """The value below which ``percent`` of 100 lie."""
    return quantiles(seconds, n=100)[percent - 1]


def _calls(program: Path, environment: dict[str, str], calls: int) -> list[float]:
    return sorted(_one(program, environment) for _ in range(calls))


def _one(program: Path, environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run([str(program), HOSTLIST], env=environment, check=True)
    return time.perf_counter() - begun


@contextmanager
def _resume_file(site: Site) -> Iterator[dict[str, str]]:
    """What slurmctld tells beside the nodes: which job they are for (slurm.conf(5), SLURM_RESUME_FILE)."""
    job = {"job_id": 1, "features": None, "extra": None, "oversubscribe": "NO", "partition": "burst"}
    job |= {"nodes_alloc": HOSTLIST, "nodes_resume": HOSTLIST, "reservation": None}
    file = site.settings.run_dir / "bench-resume.json"
    file.write_text(json.dumps({"all_nodes_resume": HOSTLIST, "jobs": [job]}))
    try:
        yield {"PATH": "/usr/bin:/bin", "SLURM_RESUME_FILE": str(file)}
    finally:
        file.unlink()


@contextmanager
def _doing_nothing(site: Site) -> Iterator[Path]:
    script = site.settings.run_dir / "bench-nothing"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    try:
        yield script
    finally:
        script.unlink()


if __name__ == "__main__":
    with running("process") as measured:
        for name, seconds in vars(measure(measured)).items():
            print(name, [round(percentile(seconds, percent) * 1000) for percent in (50, 99)], "ms")
