"""The executables that slurm.conf names: small shell scripts that start ``slurm_plugins`` with their arguments.

Invariant: slurmctld gives its programs no arguments of ours and wants absolute paths, so each script holds all it needs.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path


def install(folder: Path, spool: Path, site_socket: Path, wait_s: int) -> Mapping[str, Path]:
    """Write the scripts into ``folder``; return slurm.conf's name of each program → its path.

    ``wait_s``: how long PrologSlurmctld may hold a job back, in seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    request = (str(spool), str(site_socket))
    programs = {
        "ResumeProgram": ("resume", request),
        "SuspendProgram": ("suspend", request),
        "ResumeFailProgram": ("resume_fail", request),
        "PrologSlurmctld": ("prolog_slurmctld", (str(site_socket), str(wait_s))),
    }
    return {name: _script(folder / module, module, arguments) for name, (module, arguments) in programs.items()}


def _script(path: Path, module: str, arguments: tuple[str, ...]) -> Path:
    package = Path(str(resources.files("slurm_plugins")))
    # -S leaves out site-packages and their start-up files: these programs are plain Python and must start fast.
    words = [f"PYTHONPATH={package.parent}", sys.executable, "-S", "-m", f"slurm_plugins.{module}", *arguments]
    text = f'#!/bin/sh\nexec env {shlex.join(words)} "$@"\n'
    if not path.exists() or path.read_text() != text:
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.chmod(0o755)
        temporary.replace(path)
    return path
