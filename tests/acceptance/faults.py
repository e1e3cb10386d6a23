"""Faults: what a test does to a running site, with real signals to real processes.

Invariant: a process is signalled only by the pid that its own pid file, or its own node's control group, gives.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway_site import PATIENCE_S, Site, eventually

from gateway.bootstrap.machine import JOBS_ON_NODES
from gateway.daemons import Daemon
from gateway.provisioning.cgroups import NodeGroup
from gateway.provisioning.container_host import ContainerHost
from gateway.wire import JobView

GATE = 'echo here > "$TMPDIR/reached"; until [ -e "$TMPDIR/gate" ]; do sleep 0.1; done\n'
"""A line of a job's script at which it waits for `open_gate` or `finish`; what it leaves there is no output."""


def pid(site: Site, name: str) -> int | None:
    """Of the gateway or of a daemon beside it; None if it does not run."""
    return Daemon(name, site.directory / "run", site.directory / "log").pid()


def kill(site: Site, name: str) -> int:
    """SIGKILL; returns when the process is gone, with its pid."""
    number = pid(site, name)
    assert number is not None, f"{name} does not run"
    os.kill(number, signal.SIGKILL)
    eventually(lambda: pid(site, name) != number, f"{name} is dead")
    return number


@contextmanager
def stopped(site: Site, name: str) -> Iterator[Callable[[], None]]:
    """A daemon that hangs (SIGSTOP) until the given function is called, or the block ends."""
    number = pid(site, name)
    assert number is not None, f"{name} does not run"

    def go_on() -> None:
        os.kill(number, signal.SIGCONT)

    os.kill(number, signal.SIGSTOP)
    try:
        yield go_on
    finally:
        go_on()


def kill_supervisor(site: Site, node: str) -> None:
    """Kill a node's systemd-nspawn(1), without its container."""
    os.kill(int((site.directory / "cloud" / node / "machine.pid").read_text().split()[0]), signal.SIGKILL)


def cut_power(site: Site, node: str) -> None:
    """Kill a node's pid 1, and with it all that runs there; it can tell nobody (pid_namespaces(7))."""
    os.kill(first_process(site, node), signal.SIGKILL)


def first_process(site: Site, node: str) -> int:
    """The pid, as this machine has it, of a node's own pid 1."""
    for number in group(site, node).pids():
        with suppress(OSError):
            if "\t1\n" in _line(Path(f"/proc/{number}/status").read_text(), "NSpid"):
                return number
    raise ProcessLookupError(f"node {node} has no pid 1")


def group(site: Site, node: str) -> NodeGroup:
    """A node's control groups."""
    host = site.machine.cloud.host
    assert isinstance(host, ContainerHost)
    return NodeGroup(cloud=host.network.bridge, node=node)


def at_gate(site: Site, job: JobView) -> str:
    """Wait until the job is at its gate; the first node of its present run."""
    with site.login() as client:

        def reached() -> str | None:
            view = client.job(job.burst_id)
            assert not view.finished, f"job {job.id} ended as {view.state} before its gate: {view.reason}"
            node = _node(view)
            return node if node and _exists(site, node, job, "reached") else None

        return eventually(reached, f"job {job.id} is at its gate")


def open_gate(site: Site, job: JobView, node: str) -> None:
    """Let the job go on there."""
    _private(site, node, job, "gate").touch()


def finish(site: Site, job: JobView) -> JobView:
    """Let the job through its gate in every run that it has, until it is settled; its last view."""
    with site.login() as client:

        def finished() -> JobView | None:
            view = client.job(job.burst_id)
            if view.finished:
                return view
            with suppress(OSError):
                open_gate(site, job, _node(view))
            return None

        return eventually(finished, f"job {job.id} settled", PATIENCE_S * 2)


def _node(view: JobView) -> str:
    nodes = [attempt.nodes for attempt in view.attempts if attempt.nodes]
    return nodes[-1][0] if nodes else ""


def _exists(site: Site, node: str, job: JobView, name: str) -> bool:
    try:
        return _private(site, node, job, name).exists()
    except OSError:
        return False


def _private(site: Site, node: str, job: JobView, name: str) -> Path:
    """A file in the job's TMPDIR on a node; on a container through its own view of its root (proc_pid_root(5))."""
    if site.form == "process":
        return site.directory / "jobs" / job.burst_id / "tmp" / name
    return Path(f"/proc/{first_process(site, node)}/root{JOBS_ON_NODES}/{job.burst_id}/tmp/{name}")  # noqa: S108 - on the node


def _line(status: str, name: str) -> str:
    return next(line for line in status.splitlines(keepends=True) if line.startswith(f"{name}:"))
