"""Live: what a running job prints, in the store while it grows.

Invariant: it ends with the job's epilog or with slurmd, whichever is first, and nothing depends on it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from slurm_plugins.agent.filesystem import FileTrouble, Job, opened
from slurm_plugins.agent.node import Node
from slurm_plugins.agent.web import Unavailable, web

EVERY_S = 2.0
SHOWN_BYTES = 1 << 20
"""Only the end of a long output is shown before the job is over."""


def start_live(node: Node, job: Job) -> None:
    """Leave a child behind that runs ``live``."""
    node.book(job.id).live.touch()
    command = [sys.executable, sys.argv[0], "--root", str(node.root), "--patience", "0"]
    command += ["live", str(job.id), str(os.getppid())]
    nowhere = subprocess.DEVNULL
    # slurmd kills the prolog's process group when the prolog ends; a session of its own is not in it.
    subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


def live(node: Node, number: int, parent: int) -> int:
    """Upload the end of the job's stdout as live/stdout whenever it has grown; ``parent`` is slurmd's pid."""
    book = node.book(number)
    plan = book.get("plan")
    job = Job(number, plan["uid"], plan["gid"])
    path = node.work(plan) / plan["environment"].get("BURST_STDOUT", f"slurm-{number}.out")
    shown = 0
    while book.live.exists() and Path(f"/proc/{parent}").exists():
        with contextlib.suppress(Unavailable, FileTrouble), opened(path, job) as file:
            size = os.fstat(file.fileno()).st_size
            if size != shown:
                file.seek(max(0, size - SHOWN_BYTES))
                web.exchange("PUT", node.presign(plan, ["live/stdout"])[0], file.read(SHOWN_BYTES))
                shown = size
        time.sleep(EVERY_S)
    return 0
