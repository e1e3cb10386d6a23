"""Daemon: how a machine becomes one of Slurm's nodes, and how it ends itself when nobody vouches for it any more.

Invariant: the one-time token is traded once; the answer is on disk before it is used, and the token then is not.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import pwd
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from slurm_plugins.agent.filesystem import write_privately
from slurm_plugins.agent.guest import guest_daemons, stop
from slurm_plugins.agent.node import API, Node
from slurm_plugins.agent.web import Json, Refused, Unavailable, patiently, web

AGAIN_S = 5.0
"""How soon a lease that was not renewed is asked for again."""

log = logging.getLogger("agent")


def run(root: Path, join_file: Path, patience_s: float, *, process: bool, guest: bool = False) -> int:
    """Be one of Slurm's nodes for as long as the gateway renews the lease, then end this machine.

    A process or a guest ends only what it started: the machine is not the gateway's.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    node = Node(root, joined(root, join_file, patience_s, process=process), patience_s)
    log.info("joined as %s", node.kid)
    if process or guest:
        with own_slurmd(node) if process else guest_daemons(node.identity) as alive:
            keep_lease(node, alive)
        return 0
    start_system_slurmd(node.identity)
    keep_lease(node, lambda: True)
    subprocess.run(["systemctl", "poweroff"], check=True)
    return 0


def joined(root: Path, join_file: Path, patience_s: float, *, process: bool) -> Json:
    """This node's identity: the one it has, or what it gets for its one-time token.

    An answer that was lost is asked for again with the same nonce, which nobody but this node ever knew.
    """
    identity_file = root / "identity.json"
    if identity_file.exists():
        return dict(json.loads(identity_file.read_text()))
    invitation = json.loads(join_file.read_text())
    if "nonce" not in invitation:
        invitation["nonce"] = secrets.token_hex(16)
        write_privately(join_file, json.dumps(invitation))
    request = {"node": invitation["node"], "token": invitation["token"], "inventory": inventory(invitation["nonce"])}
    url = invitation["gateway_url"].rstrip("/") + f"{API}nodes/join"
    reply = patiently(lambda: web.post(url, json.dumps(request).encode(), {}), patience_s)
    kept = {name: value for name, value in invitation.items() if name not in {"token", "nonce"}}
    identity = {**kept, **reply, "isolated": not process}
    write_privately(identity_file, json.dumps(identity))
    write_privately(join_file, json.dumps(kept))
    return identity


def inventory(nonce: str) -> Json:
    """What this machine has, to be compared with what was ordered."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    agent = hashlib.sha256(Path(sys.argv[0]).read_bytes()).hexdigest()
    return {"nonce": nonce, "cpus": os.cpu_count(), "memory_mb": memory >> 20, "agent_sha256": agent}


def start_system_slurmd(identity: Json) -> None:
    """Give Debian's munge and slurmd their key and options, and start them."""
    # This file is slurmd's Prolog and Epilog too.
    Path(sys.argv[0]).chmod(0o755)
    munge = pwd.getpwnam("munge")
    key = base64.b64decode(identity["munge_key"])
    write_privately(Path("/etc/munge/munge.key"), key, 0o400, (munge.pw_uid, munge.pw_gid))
    # -b: report this moment as the boot's, or slurmctld holds the node's boot to be older than its own request.
    options = f"-b -N {identity['node']} --conf-server {identity['slurm_conf_server']}"
    Path("/etc/default/slurmd").write_text(f'SLURMD_OPTIONS="{options}"\n')
    for service in ("munge", "slurmd"):
        subprocess.run(["systemctl", "restart", service], check=True)


@contextlib.contextmanager
def own_slurmd(node: Node) -> Iterator[Callable[[], bool]]:
    """A slurmd as a child, which ends with the agent; yields what tells whether it lives."""
    conf = node.identity["slurm_conf"]
    command = [node.identity.get("slurmd", "slurmd"), "-D", "-b", "-N", node.identity["node"], "-f", conf]
    if stepd := node.identity.get("slurmstepd"):
        command += ["-d", stepd]
    with (node.root / "slurmd.log").open("ab") as output:
        slurmd = subprocess.Popen(command, env={**os.environ, "SLURM_CONF": conf}, stdout=output, stderr=output)
    try:
        yield lambda: slurmd.poll() is None
    finally:
        stop(slurmd)


def keep_lease(node: Node, alive: Callable[[], bool]) -> None:
    """Return when the gateway wants the node drained, or has not renewed its lease for twice the lease's time."""
    seconds = float(node.identity["lease_seconds"])
    ends, due = uptime() + 2 * seconds, 0.0
    while alive() and uptime() < ends:
        if uptime() >= due:
            due = uptime() + min(seconds / 3, AGAIN_S)
            with contextlib.suppress(Unavailable, Refused):
                reply = node.ask("nodes/self/lease", {})
                if reply["drain"]:
                    log.info("the gateway wants this node drained")
                    return
                seconds = float(reply["lease_seconds"])
                ends, due = uptime() + 2 * seconds, uptime() + seconds / 3
        time.sleep(min(1.0, seconds / 6))
    log.info("slurmd has ended, or nobody renewed the lease")


def uptime() -> float:
    """Seconds since boot, those in which the machine was suspended included: a lease runs on in them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
