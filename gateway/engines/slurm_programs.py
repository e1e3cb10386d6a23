"""The executables that slurm.conf names: small shell scripts that start ``slurm_plugins`` with their arguments.

Invariant: slurmctld gives its programs no arguments of ours and wants absolute paths, so each script is complete.
"""

from __future__ import annotations

import shlex
import sys
from importlib import resources
from pathlib import Path

_MODULES = {
    "ResumeProgram": "resume",
    "SuspendProgram": "suspend",
    "ResumeFailProgram": "resume_fail",
    "PrologSlurmctld": "prolog_slurmctld",
}


def paths(folder: Path) -> dict[str, Path]:
    """Name of each program in slurm.conf → its path below ``folder``."""
    return {name: folder / module for name, module in _MODULES.items()}


def install(programs: dict[str, Path], spool: Path, site_socket: Path, *, wait_s: int) -> None:
    """Write the scripts; ``wait_s``: how long PrologSlurmctld may hold a job back, in seconds."""
    request = (str(spool), str(site_socket))
    arguments = dict.fromkeys(_MODULES, request) | {"PrologSlurmctld": (str(site_socket), str(wait_s))}
    for name, path in programs.items():
        _write(path, _script(_MODULES[name], arguments[name]))


def _script(module: str, arguments: tuple[str, ...]) -> str:
    home = Path(str(resources.files("slurm_plugins"))).parent
    # -S leaves out site-packages and their start-up files: these programs are plain Python and must start fast.
    words = [f"PYTHONPATH={home}", sys.executable, "-S", "-m", f"slurm_plugins.{module}", *arguments]
    return f'#!/bin/sh\nexec env {shlex.join(words)} "$@"\n'


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.chmod(0o755)
    temporary.replace(path)
