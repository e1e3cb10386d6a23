"""Scontrol: what this node asks and tells its slurmctld.

Invariant: a drain that is not this agent's own is neither overwritten nor taken back.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

from slurm_plugins.agent.filesystem import FileTrouble
from slurm_plugins.agent.node import Node
from slurm_plugins.agent.programs import PLACES
from slurm_plugins.agent.web import Unavailable

SCONTROL_S = 30.0
SILENT = "gateway: its gateway is silent"
"""The reason that a node drains itself with."""

log = logging.getLogger("agent")


def scontrol(node: Node, *words: str) -> bytes:
    """Return what it prints. Raises Unavailable when slurmctld does not say, FileTrouble where there is none."""
    conf = node.identity.get("slurm_conf")
    environment = {**os.environ, "PATH": PLACES, **({"SLURM_CONF": conf} if conf else {})}
    command = [_scontrol(node), *words]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=SCONTROL_S)
    except subprocess.TimeoutExpired as error:
        raise Unavailable("scontrol did not answer") from error
    if done.returncode != 0:
        raise Unavailable(f"scontrol: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def drain(node: Node) -> bool:
    """Let Slurm start nothing more here; whether that was done, and so is to be taken back."""
    if "DRAIN" in _shown(node)["State"]:
        return False
    scontrol(node, "update", f"nodename={node.identity['node']}", "state=drain", f"reason={SILENT}")
    log.info("drained: the gateway is silent")
    return True


def undrain(node: Node) -> None:
    """Take ``drain`` back, unless somebody else has drained the node since."""
    shown = _shown(node)
    if "DRAIN" in shown["State"] and shown.get("Reason", "").startswith(SILENT):
        scontrol(node, "update", f"nodename={node.identity['node']}", "state=resume")
        log.info("in service again: the gateway speaks")


def _shown(node: Node) -> dict[str, str]:
    """What Slurm says of this node, by line; a reason has blanks and is the last on its line."""
    words: dict[str, str] = {"State": ""}
    for line in scontrol(node, "show", "node", node.identity["node"]).decode(errors="replace").splitlines():
        first, _, rest = line.strip().partition("=")
        words[first] = rest if first == "Reason" else rest.split(" ")[0]
    return words


def _scontrol(node: Node) -> str:
    # A Slurm that was unpacked lies in one tree, in which slurmd's path says where the rest is.
    beside = Path(node.identity.get("slurmd", "/usr/sbin/slurmd")).parents[1] / "bin/scontrol"
    found = str(beside) if beside.exists() else shutil.which("scontrol", path=PLACES)
    if found is None:
        raise FileTrouble("there is no scontrol here: install slurm-client")
    return found
