"""The jobs that ``burst demo`` can show: what each needs, and the answer that its result must have.

Invariant: a result is right when it is the known one, whatever Slurm says of the job.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import BurstError, SetupError

MADELUNG = 1.7475645946331822
"""Madelung constant of rock salt, Crandall, Exp. Math. 8, 367 (1999)."""
_MADELUNG_ERROR = 1e-9
"""The example's sum converges with the fourth power of its size: its error is some 1e-12."""
_SIGMAS = 5.0
_JOB_PATH = "/usr/bin:/bin"
"""PATH of a job on a process node."""

_PACKAGES = "apt-get install python3-numpy"


@dataclass(frozen=True)
class Showcase:
    """A folder of ``examples/``; each script runs after the one before, with that one's ``carried`` files as inputs."""

    folder: str
    about: str
    scripts: Sequence[str]
    judge: Callable[[Path], str]
    """Takes the folder of the last job's results, says the answer. Raises BurstError for a wrong one."""
    carried: str = ""

    def path(self) -> Path:
        """Where it is: in a checkout beside the package, in an installation inside it. Raises SetupError."""
        package = Path(__file__).resolve().parents[1]
        for examples in (package.parent / "examples", package / "examples"):
            if (examples / self.folder).is_dir():
                return examples / self.folder
        raise SetupError(f"the examples are not there: {self.folder}", hint="install burst-gateway again")


def choose(form: str) -> Showcase:
    """What nodes of this form can run. Raises SetupError when this machine's process nodes lack a program.

    Container nodes bring OpenMPI and NumPy in their image. Process nodes have what this machine has, and one address
    for all, which OpenMPI does not expect of nodes.
    """
    if form != "process":
        return MPI
    if _python_has("numpy"):
        return ARRAY
    raise SetupError("process nodes have this machine's programs, and NumPy is not there", hint=_PACKAGES)


def judge_madelung(results: Path) -> str:
    """The constant of ``result.json``."""
    found = _load(results / "result.json")
    value = float(found["madelung"])
    hosts = sorted(set(found["hosts"]))
    answer = f"Madelung constant {value:.10f} by {found['ranks']} ranks on {' and '.join(hosts)}; known {MADELUNG:.10f}"
    if abs(value - MADELUNG) > _MADELUNG_ERROR:
        raise _wrong(answer, results)
    return answer


def judge_ising(results: Path) -> str:
    """The energies of ``ising.json``, against the exact solution of the infinite lattice (Onsager 1944)."""
    points = _load(results / "ising.json")["points"]
    worst = max(abs(float(point["energy"]["sigmas"])) for point in points)
    answer = f"{len(points)} energies of the 2-D Ising model, at most {worst:.1f} standard errors from Onsager's"
    if worst > _SIGMAS:
        raise _wrong(answer, results)
    return answer


MPI = Showcase("mpi-madelung", "the Madelung constant of rock salt, by MPI over two nodes", ("job.sh",), judge_madelung)
ARRAY = Showcase(
    "ising-array",
    "the 2-D Ising model as a job array, then a reduction",
    ("array.sh", "reduce.sh"),
    judge_ising,
    carried="ising-*.json",
)


def _python_has(*modules: str) -> bool:
    python = shutil.which("python3", path=_JOB_PATH)
    probe = [python or "python3", "-c", f"import {', '.join(modules)}"]
    return python is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BurstError(f"the job left no {path.name} that can be read: {error}", hint="burst logs") from None


def _wrong(answer: str, results: Path) -> BurstError:
    return BurstError(f"the result is wrong: {answer}", hint=f"look at {results}")
