"""PrologSlurmctld: returns when the gateway says that the job's nodes are up, so that slurmctld launches it at once.

Without it a batch job on nodes that had to be made is only launched by slurmctld's next sweep, up to 30 s later.
Invariant: never fails a job. A gateway that is away is waited for, in vain it is given up, and the sweep launches it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

_RECONNECT_S = 0.25


def main() -> int:
    """Arguments SOCKET TIMEOUT_S; SLURM_JOB_ID and SLURM_JOB_NODELIST from slurmctld (slurm.conf(5)). Always 0."""
    site, timeout_s = sys.argv[1], float(sys.argv[2])
    request = {
        "program": "wait",
        "job": int(os.environ["SLURM_JOB_ID"]),
        "nodes": os.environ.get("SLURM_JOB_NODELIST", ""),
    }
    wait(site, json.dumps(request).encode() + b"\n", time.monotonic() + timeout_s)
    return 0


def wait(site: str, request: bytes, deadline: float) -> bool:
    """Ask until the gateway has answered or the monotonic ``deadline`` has passed; whether the nodes are ready."""
    while (left := deadline - time.monotonic()) > 0:
        answer = _ask(site, request, left)
        if answer is not None:
            return answer
        time.sleep(min(_RECONNECT_S, left))
    return False


def _ask(site: str, request: bytes, timeout_s: float) -> bool | None:
    """One conversation: the answer, or None if the gateway is away or went away meanwhile."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(site)
            connection.sendall(request)
            line = connection.makefile("rb").readline()
            return bool(json.loads(line)["ready"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
