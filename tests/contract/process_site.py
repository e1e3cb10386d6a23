"""A gateway's site socket and process nodes, as small as they can be: real slurmds, started and ended as Slurm asks.

Slurm itself is never imitated: requests come from its own programs, and nodes register with it by themselves.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import threading
from contextlib import suppress
from pathlib import Path

import psutil
from ClusterShell.NodeSet import NodeSet

from gateway.daemons import Daemon
from gateway.engines.embedded import EmbeddedSlurm
from gateway.settings import Settings

_NOT_UP = {"POWERING_UP", "POWERED_DOWN", "POWERING_DOWN", "NOT_RESPONDING", "REBOOT_REQUESTED"}


class ProcessSite:
    """Answers slurmctld's programs on ``site.sock``; keeps a slurmd for every node that was asked for."""

    def __init__(self, settings: Settings, slurm: EmbeddedSlurm) -> None:
        self._settings = settings
        self._slurm = slurm
        self._engine = slurm.engine()
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self.handled: list[dict[str, object]] = []
        self._server = _Server(str(settings.run_dir / "site.sock"), self)

    def start(self) -> None:
        """Listen, and take what was spooled before."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.take_spool()

    def stop(self) -> None:
        """Stop listening and end every node, with whatever its jobs left running."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        for pid_file in self._settings.run_dir.glob("node-*.pid"):
            self._end(pid_file.stem.removeprefix("node-"))
        self._end_jobs()
        self._engine.close()

    def take_spool(self) -> None:
        """Do what the spooled requests ask, oldest first."""
        with self._lock:
            for file in sorted(self._settings.spool_dir.glob("*.json")):
                request = json.loads(file.read_text())
                for node in NodeSet(request["nodes"]):
                    self._begin(node) if request["program"] == "resume" else self._end(node)
                self.handled.append(request)
                file.unlink()

    def wait_until_up(self, nodes: str) -> None:
        """Return once slurmctld has heard of every one of ``nodes``."""
        wanted = set(NodeSet(nodes))
        while not self.closing.wait(0.05):
            if all(not node.states & _NOT_UP for node in self._engine.nodes() if node.name in wanted):
                return

    def _daemon(self, node: str) -> Daemon:
        return Daemon(f"node-{node}", self._settings.run_dir, self._settings.log_dir / f"node-{node}.log")

    def _begin(self, node: str) -> None:
        self._daemon(node).start(self._slurm.slurmd_command(node), env=dict(os.environ) | self._slurm.environment())

    def _end(self, node: str) -> None:
        self._daemon(node).stop(how=signal.SIGKILL)

    def _end_jobs(self) -> None:
        """A slurmstepd and its job outlive their slurmd."""
        conf = self._slurm.environment()["SLURM_CONF"]
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if environment.get("SLURM_CONF") == conf and (
                    "SLURM_JOB_ID" in environment or "stepd" in process.name()
                ):
                    process.kill()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str, site: ProcessSite) -> None:
        Path(path).unlink(missing_ok=True)
        self.site = site
        super().__init__(path, _Conversation)


class _Conversation(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        request = json.loads(line)
        if request["program"] == "poke":
            self.server.site.take_spool()
        else:
            self.server.site.wait_until_up(request["nodes"])
            self.wfile.write(b'{"ready": true}\n')
