"""ProcessHost: nodes as processes of this user, for computers that allow no containers; they share everything else.

Invariant: every process that a node starts carries its machine id in the environment, or descends from one that does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import ClassVar

from gateway.daemons import Daemon
from gateway.errors import SetupError
from gateway.provisioning.instance import Instance
from gateway.provisioning.node_host import Life
from gateway.provisioning.node_image import Progress
from gateway.provisioning.user_data import JOIN_FILE, file_in

AGENT = Path(__file__).parents[2] / "slurm_plugins" / "node_agent.py"
_TICK_S = 0.02
_KILL_S = 10.0


@dataclass(frozen=True)
class ProcessHost:
    """Runs the node agent of each machine in a session of its own, as cloud-init would on a real one."""

    folder: Path
    agent: Path = AGENT
    form: ClassVar[str] = "process"
    address: ClassVar[str] = "127.0.0.1"

    def prepare(self, progress: Progress) -> None:
        """Nothing is shared."""

    def furnish(self, instance: Instance, taken: Collection[IPv4Address]) -> Instance:  # noqa: ARG002 - the port's
        """All machines are this one."""
        return replace(instance, address=self.address)

    def start(self, instance: Instance) -> None:
        """Take the invitation out of the user-data and start the agent with it."""
        daemon = _daemon(instance)
        join = instance.folder / "join.json"
        try:
            _write_privately(join, file_in(instance.user_data.read_text(), JOIN_FILE))
            daemon.start(self._command(instance, join), env=_environment(instance), cwd=instance.folder)
        except (ValueError, SetupError) as error:
            instance.complain(error)
            daemon.pid_file.touch()

    def life(self, instance: Instance) -> Life:
        """RUNNING as long as its agent is."""
        daemon = _daemon(instance)
        if daemon.alive():
            return Life.RUNNING
        if not daemon.pid_file.exists():
            return Life.UNBORN
        return Life.OVER if (instance.folder / "identity.json").exists() else Life.FAILED

    def kill(self, instance: Instance) -> bool:
        """Kill the agent, slurmd, slurmstepd and the jobs below them."""
        deadline = time.monotonic() + _KILL_S
        while pids := family(instance):
            for pid in pids:
                _kill(pid)
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK_S)
        _daemon(instance).collect()
        return True

    def publish(self, instances: Collection[Instance]) -> None:
        """All machines have one name."""

    def teardown(self) -> None:
        """Nothing was made."""

    def _command(self, instance: Instance, join: Path) -> list[str]:
        root = str(instance.folder)
        return [sys.executable, str(self.agent), "--root", root, "run", "--process", "--join", str(join)]


def family(instance: Instance) -> frozenset[int]:
    """The live processes of a machine: those marked with it, all their descendants, and all in their sessions."""
    table = _processes()
    found = {pid for pid in table if _marked(pid, instance)}
    while more := _kin(table, found):
        found |= more
    return frozenset(found)


def _kin(table: dict[int, tuple[int, int]], found: set[int]) -> set[int]:
    sessions = {table[pid][1] for pid in found} - {os.getsid(0), 0}
    own = {0, 1, os.getpid()}
    return {
        pid
        for pid, (parent, session) in table.items()
        if pid not in found and pid not in own and (parent in found or session in sessions)
    }


def _processes() -> dict[int, tuple[int, int]]:
    """Parent and session of every live process of this user (proc_pid_stat(5))."""
    table = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        state, parent, _, session = stat[stat.rindex(")") + 2 :].split()[:4]
        if state not in "ZX":
            table[int(entry.name)] = (int(parent), int(session))
    return table


def _marked(pid: int, instance: Instance) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    if f"BURST_MACHINE={instance.id}".encode() in environment:
        return True
    # slurmstepd gives a task Slurm's environment, not its own; it matters only when the task has outlived it.
    here = os.fsencode(f"{instance.folder.parents[1]}/")
    return f"SLURMD_NODENAME={instance.name}".encode() in environment and any(here in each for each in environment)


def _environment(instance: Instance) -> dict[str, str]:
    return {**os.environ, "BURST_NODE": instance.name, "BURST_MACHINE": instance.id}


def _daemon(instance: Instance) -> Daemon:
    return Daemon(name="machine", run=instance.folder, log=instance.console)


def _write_privately(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
