"""The least that a cold start can take with this Slurm: slurmd as a bare process, started by ten lines of shell."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import uuid
from pathlib import Path

from bench.site import say
from gateway.engines.distribution import Distribution
from gateway.engines.embedded import EmbeddedSlurm, Site
from gateway.engines.engine import Submission
from gateway.settings import Settings

RESUME = """\
export SLURM_CONF={conf} PATH={path}
for node in $(scontrol show hostnames "$1"); do
    setsid slurmd -D -b -N "$node" -f "$SLURM_CONF" -d "$(command -v slurmstepd)" </dev/null >/dev/null 2>&1 &
done
sleep 0.05  # slurmctld ends the group of a program that returns; each slurmd needs its own by then
"""
READY = """\
export SLURM_CONF={conf} PATH={path}
while scontrol -o show node "$SLURM_JOB_NODELIST" | grep -Eq 'POWERING_UP|POWERED_DOWN|NOT_RESPONDING'; do
    sleep 0.02
done
"""
SUSPEND = """\
export SLURM_CONF={conf} PATH={path}
for node in $(scontrol show hostnames "$1"); do kill "$(cat {spool}/$node.pid)"; done
"""
_WITHIN_S = 120.0


def measure(distribution: Distribution, count: int) -> list[float]:
    """Seconds from submission through slurmrestd to a job's first line, each on a node that did not run."""
    with tempfile.TemporaryDirectory(prefix="burst-bench-", dir="/tmp") as folder:
        settings = Settings(directory=Path(folder), idle_s=600)
        slurm = EmbeddedSlurm(settings, distribution, Site("process"))
        try:
            slurm.start()
            _install(settings, slurm)
            return [_one(settings, slurm, number) for number in range(1, count + 1)]
        finally:
            _end_nodes(settings)
            slurm.stop()


def _install(settings: Settings, slurm: EmbeddedSlurm) -> None:
    known = slurm.environment()
    words = {"conf": known["SLURM_CONF"], "path": known["PATH"], "spool": settings.slurm_dir / "slurmd"}
    for name, text in (("resume", RESUME), ("prolog_slurmctld", READY), ("suspend", SUSPEND)):
        (settings.slurm_dir / "programs" / name).write_text("#!/bin/sh\n" + text.format(**words))


def _one(settings: Settings, slurm: EmbeddedSlurm, number: int) -> float:
    out = settings.directory / f"{number}.out"
    node = f"{settings.sizes[0].name}-{number}"
    options = {"job-name": "bare", "nodelist": node, "time": "2", "output": str(out)}
    script = "#!/bin/sh\ndate +%s.%N\n"
    job = Submission(uuid.uuid4().hex, script, options, {"PATH": "/usr/bin:/bin"}, str(settings.directory))
    engine = slurm.engine()
    sent = time.time()
    engine.submit(job)
    took = _printed(out) - sent
    engine.close()
    say(f"bare slurmd: {took:.2f} s")
    return took


def _printed(out: Path) -> float:
    deadline = time.monotonic() + _WITHIN_S
    while not (out.exists() and out.read_text().endswith("\n")):
        if time.monotonic() > deadline:
            raise TimeoutError("the job did not start")
        time.sleep(0.05)
    return float(out.read_text())


def _end_nodes(settings: Settings) -> None:
    """Each slurmd that left a pid file; it was started in a session of its own."""
    for file in (settings.slurm_dir / "slurmd").glob("*.pid"):
        try:
            os.kill(int(file.read_text()), signal.SIGTERM)
        except (ValueError, ProcessLookupError):
            continue
