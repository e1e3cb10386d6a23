"""Guest: a node's daemons on a host that is only lent to the cluster; the host's own munge and Slurm are not touched.

Invariant: all of it runs in the agent's own mount namespace, in which /run and /etc/munge are empty and ours, so the
cluster's key never reaches the host's disk and everything ends with the agent's unit.
"""

from __future__ import annotations

import base64
import contextlib
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from slurm_plugins.agent.filesystem import FileTrouble, write_privately
from slurm_plugins.agent.programs import program
from slurm_plugins.agent.web import Json

MUNGE_KEY = Path("/etc/munge/munge.key")
MUNGE_RUN = Path("/run/munge")
MUNGE_WITHIN_S = 20.0
SLURMD_GRACE_S = 5.0


@contextlib.contextmanager
def guest_daemons(identity: Json) -> Iterator[Callable[[], bool]]:
    """munged and slurmd as children, which end with the agent; yields what tells whether both live."""
    # This file is slurmd's Prolog and Epilog too.
    Path(sys.argv[0]).chmod(0o755)
    with contextlib.ExitStack() as stack:
        munged = _munged(base64.b64decode(identity["munge_key"]))
        stack.callback(stop, munged)
        options = ["-D", "-b", "-N", identity["node"], "--conf-server", identity["slurm_conf_server"]]
        slurmd = subprocess.Popen([program("slurmd"), *options])
        stack.callback(stop, slurmd)
        yield lambda: munged.poll() is None and slurmd.poll() is None


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a child, by force if it does not hear."""
    process.terminate()
    try:
        process.wait(SLURMD_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _munged(key: bytes) -> subprocess.Popen[bytes]:
    """A munged that answers."""
    _require_own(MUNGE_KEY.parent)
    user = _munge()
    ids = (user.pw_uid, user.pw_gid)
    write_privately(MUNGE_KEY, key, 0o400, ids)
    MUNGE_RUN.mkdir(mode=0o755, exist_ok=True)
    shutil.chown(MUNGE_RUN, *ids)
    socket = MUNGE_RUN / "munge.socket.2"
    places = {"socket": socket, "pid-file": MUNGE_RUN / "munged.pid", "seed-file": MUNGE_RUN / "munged.seed"}
    command = [program("munged"), "--foreground", *(f"--{name}={path}" for name, path in places.items())]
    process = subprocess.Popen(command, user=user.pw_uid, group=user.pw_gid, extra_groups=[])
    deadline = time.monotonic() + MUNGE_WITHIN_S
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise FileTrouble("munged did not start; see the journal of burst-node.service")
        time.sleep(0.02)
    return process


def _require_own(folder: Path) -> None:
    """The host's own munge key must not be overwritten, whoever starts this by hand."""
    if not folder.is_mount():
        raise FileTrouble(f"{folder} is the host's own: run this by burst-node.service")


def _munge() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("munge")
    except KeyError:
        raise FileTrouble("there is no user munge: munge is not installed") from None
