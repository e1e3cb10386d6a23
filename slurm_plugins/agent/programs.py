"""Programs: where the system's own programs are.

Invariant: neither slurmd, which gives its programs no PATH, nor a unit whose PATH lacks sbin, changes what is found.
"""

from __future__ import annotations

import shutil

from slurm_plugins.agent.filesystem import FileTrouble

PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def program(name: str, advice: str = "") -> str:
    """Its path. Raises FileTrouble if it is not installed; ``advice`` says what to do about that."""
    found = shutil.which(name, path=PLACES)
    if found is None:
        raise FileTrouble(f"{name} is not installed" + (f": {advice}" if advice else ""))
    return found
