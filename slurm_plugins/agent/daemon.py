"""Daemon: how a machine becomes one of Slurm's nodes, and how it keeps its lease until it is to end.

Invariant: the one-time token is traded once, for this node's own key; the answer is on disk before it is used, and the
token then is not.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from slurm_plugins.agent.filesystem import FileTrouble, write_privately
from slurm_plugins.agent.guest import guest_daemons, stop
from slurm_plugins.agent.lease import Lease, uptime
from slurm_plugins.agent.node import Node
from slurm_plugins.agent.power_off import power_off
from slurm_plugins.agent.preemption import watch_preemption
from slurm_plugins.agent.programs import program
from slurm_plugins.agent.scontrol import drain, undrain
from slurm_plugins.agent.stock import Stock, take_stock
from slurm_plugins.agent.web import Json, Refused, Unavailable

IDENTITY = "identity.json"
SSH_FOLDER = Path("/etc/ssh")
OWNER_LOGIN = "burst-job"
"""In the principals of sshd too: see cloud_init/parts/sshd.yaml.j2."""
USERADD_KNOWN = 9
"""useradd(8): there is a user of that name."""

log = logging.getLogger("agent")


def run(root: Path, join_file: Path, patience_s: float, *, process: bool, guest: bool = False) -> int:
    """Be one of Slurm's nodes for as long as the gateway renews the lease, then end this machine.

    A process or a guest ends only what it started: the machine is not the gateway's.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    own_machine = not (process or guest)
    new = not (root / IDENTITY).exists()
    lease = Lease.kept(root / "lease", json.loads((join_file if new else root / IDENTITY).read_text()))
    try:
        identity = joined(root, join_file, min(patience_s, 2 * lease.seconds), process=process, guest=guest)
        if new:
            lease.follow(identity)
        serve(Node(root, identity, patience_s), lease, process=process, guest=guest)
    except Exception:
        # systemd starts the agent again, and again; but not for ever.
        if own_machine and lease.over_for > 0:
            power_off("it is no node")
        raise
    if own_machine:
        power_off("its time is over")
    return 0


def serve(node: Node, lease: Lease, *, process: bool, guest: bool) -> None:
    """Be the node until its time is over."""
    log.info("joined as %s", node.kid)
    watch_preemption(node, process=process)
    stock = Stock(Path(node.identity["job_directory"])).watch()
    with daemons(node, process=process, guest=guest) as alive:
        keep_lease(node, lease, stock, alive)


@contextlib.contextmanager
def daemons(node: Node, *, process: bool, guest: bool) -> Iterator[Callable[[], bool]]:
    """Slurm's daemons; yields what tells whether they live. Those of a machine of its own are its systemd's."""
    if reason := node.identity.get("quarantined"):
        log.error("quarantined, so slurmd is not started: %s", reason)
        yield lambda: True
    elif process or guest:
        with own_slurmd(node) if process else guest_daemons(node.identity) as alive:
            yield alive
    else:
        start_system_slurmd(node.identity)
        let_people_in(node.identity)
        let_owners_in(node.identity)
        yield lambda: True


def joined(root: Path, join_file: Path, patience_s: float, *, process: bool, guest: bool) -> Json:
    """This node's identity: the one it has, or what it gets for its one-time token and the key that it made.

    A request whose answer was lost is made again; that it is the same node's, its key proves.
    """
    identity_file = root / IDENTITY
    if identity_file.exists():
        return dict(json.loads(identity_file.read_text()))
    invitation = json.loads(join_file.read_text())
    stranger = Node(root, invitation, patience_s)
    stranger.key.make()
    stranger.greet()
    request = {
        **claim(invitation),
        "public_key": stranger.key.public_jwk,
        # The machine of others keeps its own doors.
        "ssh_host_keys": [] if process or guest else host_keys(SSH_FOLDER),
        "inventory": {**take_stock(), "agent_sha256": digest_of_agent()},
    }
    reply = stranger.post("nodes/join", request)
    kept = {name: value for name, value in invitation.items() if name not in {"token", "secret"}}
    identity = {**kept, **reply, "isolated": not process}
    write_privately(identity_file, json.dumps(identity))
    write_privately(join_file, json.dumps(kept))
    return identity


def claim(invitation: Json) -> Json:
    """Who it says it is, and the one-time token that shows it: of machine i of a gang HMAC-SHA256(secret, i)."""
    if "node" in invitation:
        return {"node": invitation["node"], "token": invitation["token"]}
    claimed = {"gang": invitation["gang"], "number": invitation["number"]}
    if "token" in invitation:
        return {**claimed, "token": invitation["token"]}
    proof = hmac.digest(invitation["secret"].encode(), str(invitation["number"]).encode(), "sha256")
    return {**claimed, "token": base64.urlsafe_b64encode(proof).decode().rstrip("=")}


def host_keys(folder: Path) -> list[str]:
    """The public halves of what this machine's sshd proves itself with, as "TYPE BASE64" (sshd(8), .pub)."""
    lines = (file.read_text().split() for file in sorted(folder.glob("ssh_host_*_key.pub")))
    return [" ".join(words[:2]) for words in lines]


def digest_of_agent() -> str:
    """SHA-256 of the file that runs here."""
    return hashlib.sha256(Path(sys.argv[0]).read_bytes()).hexdigest()


def let_people_in(identity: Json) -> None:
    """As whom certificates open this machine, if its user-data could not say: see cloud_init/parts/sshd.yaml.j2."""
    for account, principal in identity.get("principals", {}).items():
        (SSH_FOLDER / "burst").mkdir(mode=0o755, exist_ok=True)
        (SSH_FOLDER / "burst" / account).write_text(f"{principal}\n")


def let_owners_in(identity: Json) -> None:
    """An account by which a job's owner may look at it: another name of whom jobs run as (useradd(8)).

    What a login leaves running ends with the job, as everything of that user does.
    """
    try:
        jobs = pwd.getpwnam(identity["job_user"])
        ids = ("--non-unique", "--uid", str(jobs.pw_uid), "--gid", str(jobs.pw_gid))
        place = ("--no-create-home", "--home-dir", identity["job_directory"], "--shell", "/bin/bash")
        command = [program("useradd"), *ids, *place, OWNER_LOGIN]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        complaint = done.stderr.strip() if done.returncode not in {0, USERADD_KNOWN} else ""
    except (KeyError, FileTrouble) as error:
        complaint = str(error)
    if complaint:
        log.warning("owners of jobs cannot log in: %s", complaint)


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


def keep_lease(node: Node, lease: Lease, stock: Stock, alive: Callable[[], bool]) -> None:
    """Return when this node is to end: the gateway says so, slurmd has ended, or nobody renewed the lease.

    A lease that is over drains the node; a job that is here then may go on for the lease's grace. A gateway that speaks
    again before that finds the node as it was.
    """
    while alive():
        if lease.due and ask_for_lease(node, lease, stock):
            log.info("the gateway wants this node drained")
            return
        if lease.over_for > 0:
            set_drain(node, lease, drained=True)
            if not node.jobs() or lease.over_for > lease.grace_s:
                take_leave(node, "nobody renewed the lease")
                return
        elif lease.drained:
            set_drain(node, lease, drained=False)
        time.sleep(lease.pause_s)
    take_leave(node, "slurmd has ended")


def ask_for_lease(node: Node, lease: Lease, stock: Stock) -> bool:
    """Ask once, and say what is here now; whether the answer is that the node is to end."""
    lease.asked_at = uptime()
    try:
        reply = node.ask("nodes/self/lease", {"inventory": stock.taken})
    except (Unavailable, Refused) as error:
        log.info("the lease was not renewed: %s", error)
        return False
    if reply["drain"]:
        return True
    lease.follow(reply)
    return False


def set_drain(node: Node, lease: Lease, *, drained: bool) -> None:
    """Let Slurm know, once, that this node takes no more jobs, or takes them again."""
    if lease.drained == drained or lease.drain_refused:
        return
    try:
        if drained:
            log.warning("the gateway is silent for too long; jobs that run here may end")
            lease.drained = drain(node)
            lease.drain_refused = not lease.drained
        else:
            undrain(node)
            lease.drained = False
    except (Unavailable, FileTrouble) as error:
        log.warning("Slurm was not told: %s", error)
    lease.keep()


def take_leave(node: Node, reason: str) -> None:
    """Tell the gateway, if it hears, that this node ends itself: where a guest cannot end its bill, the gateway can."""
    log.warning("this node ends itself: %s", reason)
    try:
        node.ask("nodes/self/leave", {"reason": reason})
    except (Unavailable, Refused) as error:
        log.info("the gateway was not told: %s", error)
