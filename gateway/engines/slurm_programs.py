"""The executables that slurm.conf names: small shell scripts that start ``slurm_plugins`` with their arguments.

Invariant: slurmctld gives its programs no arguments of ours and wants absolute paths, so each script is complete.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from gateway.errors import SetupError

_MODULES = {
    "ResumeProgram": "resume",
    "SuspendProgram": "suspend",
    "ResumeFailProgram": "resume_fail",
    "PrologSlurmctld": "prolog_slurmctld",
}


@dataclass(frozen=True)
class Foreign:
    """A cluster that is not ours: its cloud partition, and the uid of its SlurmUser, who runs the programs."""

    partition: str
    slurm_user: int
    sizes: tuple[str, ...] = ()
    """What our nodes' names begin with, before the dash and the number."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Name in slurm.conf → the program that the site has for its own nodes."""


def paths(folder: Path) -> dict[str, Path]:
    """Name of each program in slurm.conf → its path below ``folder``."""
    return {name: folder / module for name, module in _MODULES.items()}


def install(
    programs: dict[str, Path], spool: Path, site_socket: Path, *, wait_s: int, foreign: Foreign | None = None
) -> None:
    """Write the scripts; ``wait_s``: how long PrologSlurmctld may hold a job back, in seconds.

    On a foreign cluster jobs of other partitions are nothing to PrologSlurmctld. Raises SetupError where its SlurmUser
    can run no Python.
    """
    python = python_of(foreign.slurm_user) if foreign else sys.executable
    request = (str(spool), str(site_socket))
    arguments = dict.fromkeys(_MODULES, request) | {"PrologSlurmctld": (str(site_socket), str(wait_s))}
    for name, path in programs.items():
        guarded = foreign.partition if foreign and name == "PrologSlurmctld" else None
        chain = (",".join(foreign.sizes), foreign.own[name]) if foreign and name in foreign.own else ()
        _write(path, _script(python, _MODULES[name], (*arguments[name], *chain), guarded))


def python_of(uid: int) -> str:
    """A Python that this user can run the programs with: ours may lie in a folder that is closed to him.

    Raises SetupError where there is none.
    """
    for python in (sys.executable, "/usr/bin/python3"):
        command = ["env", f"PYTHONPATH={_home()}", python, "-S", "-c", "import slurm_plugins.spool"]
        done = subprocess.run(command, user=uid, extra_groups=[], cwd="/", capture_output=True, check=False)
        if done.returncode == 0:
            return python
    raise SetupError(
        f"the site's SlurmUser (uid {uid}) can read neither {sys.executable} nor {_home()} with /usr/bin/python3",
        hint="install the gateway where every user may read it, such as /opt/burst",
    )


def _home() -> Path:
    return Path(str(resources.files("slurm_plugins"))).parent


def _script(python: str, module: str, arguments: tuple[str, ...], partition: str | None) -> str:
    # -S leaves out site-packages and their start-up files: these programs are plain Python and must start fast.
    words = [f"PYTHONPATH={_home()}", python, "-S", "-m", f"slurm_plugins.{module}", *arguments]
    # Asked before Python is started: it must cost the other jobs of a busy cluster next to nothing.
    guard = f'[ "$SLURM_JOB_PARTITION" = {shlex.quote(partition)} ] || exit 0\n' if partition else ""
    return f'#!/bin/sh\n{guard}exec env {shlex.join(words)} "$@"\n'


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.chmod(0o755)
    temporary.replace(path)
