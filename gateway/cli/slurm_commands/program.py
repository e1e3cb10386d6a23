"""Program: one executable, many names; the name that it is called by says which command it is.

Invariant: a command's module is loaded only when it is called.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from gateway.cli.slurm_commands.door import RELEASE
from gateway.cli.slurm_commands.failure import Failure

NAMES = ("sbatch", "squeue", "scancel", "sacct", "sinfo", "scontrol", "srun", "salloc", "sacctmgr")
"""The last three say why they are refused; a tool that looks for srun finds it."""

_VERSION = frozenset({"-V", "--version"})


def main() -> NoReturn:
    """``argv``: the path that it was called by, then its words."""
    sys.exit(run(sys.argv[1].rpartition("/")[2], sys.argv[2:]))


def run(name: str, words: list[str]) -> int:
    """Be the command ``name``; its exit code."""
    try:
        code = _command(name, words)
        sys.stdout.flush()
    except Failure as failure:
        sys.stdout.flush()
        sys.stderr.write(f"{failure.text}\n")
        return failure.code
    except BrokenPipeError:
        # The reader has seen enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _command(name: str, words: list[str]) -> int:
    if name not in NAMES:
        raise Failure(f"burst: error: {name} is not one of {', '.join(NAMES)}")
    if words[:1] and words[0] in _VERSION and name != "srun":
        sys.stdout.write(f"slurm-wlm {RELEASE}\n")
        return 0
    module = __import__(f"gateway.cli.slurm_commands.{_MODULES.get(name, name)}", fromlist=["run"])
    code: int = module.run(words) if name not in _MODULES else module.run(name, words)
    return code


_MODULES = {"srun": "elsewhere", "salloc": "elsewhere", "sacctmgr": "elsewhere"}
