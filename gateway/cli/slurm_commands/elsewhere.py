"""srun, salloc, sacctmgr: not the gateway's; inside a job the site's own srun is started in their place.

Invariant: what is refused is refused by name, with the reason and what to do instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from gateway.cli.slurm_commands.failure import Failure

_REASONS = {
    "srun": "job steps run inside a job: put srun into the script that sbatch submits",
    "salloc": "the gateway gives no interactive allocations: submit a script with sbatch",
    "sacctmgr": "accounts are the gateway's: burst balance, burst credit",
}


def run(name: str, words: Sequence[str]) -> int:
    """Become the real program where there is one and this is a job; else say why not. Raises Failure."""
    if name == "srun" and "SLURM_JOB_ID" in os.environ and (real := _real(name)):
        os.execv(real, [real, *words])  # noqa: S606 - as the shell would have started it
    raise Failure(f"{name}: error: not supported: {_REASONS[name]}")


def _real(name: str) -> str | None:
    """The first program of this name on PATH that is not one of these commands."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, name)  # noqa: PTH118
        if os.access(path, os.X_OK) and os.path.basename(os.path.realpath(path)) != "burst-slurm":  # noqa: PTH119
            return path
    return None
