"""Narrator: tells what happens while it happens; lines above, and on a terminal the nodes in a table below them.

Invariant: piped output has the same lines, each whole when it is written, without control sequences.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gateway.cli.display import rich_table
from gateway.cli.node_admin import NODE_COLUMNS, node_row
from gateway.client.gateway import Gateway
from gateway.wire import JobView, NodeView


class Narrator:
    """Tells lines with the seconds since it began; ``err`` sends them to stderr."""

    def __init__(self, *, err: bool = False) -> None:
        self._console = Console(stderr=err, highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self._terminal(err) else None
        self._began = time.monotonic()
        self._nodes: dict[tuple[str, int], str] = {}
        self._told: dict[str, int] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def say(self, text: str, *, style: str = "") -> None:
        """Tell one line."""
        self._console.print(Text(f"{self.elapsed_s:7.1f} s  ") + Text(text, style=style))

    def heading(self, text: str) -> None:
        """Tell that another part begins."""
        self._console.print(Text(f"\n{text}", style="bold"))

    def nodes(self, nodes: Sequence[NodeView]) -> None:
        """Tell which nodes have come, changed and gone since the last call."""
        states = {(node.name, node.generation): node.state for node in nodes if node.state != "gone"}
        for node in nodes:
            key = (node.name, node.generation)
            if key in states and self._nodes.get(key) != node.state:
                where = f" at {node.address}" if node.address else ""
                self.say(f"node {node.name} ({node.offer}){where}: {node.state}", style="cyan")
        for name, generation in self._nodes:
            if (name, generation) not in states:
                self.say(f"node {name}: gone", style="cyan")
        self._nodes = states
        if self._live:
            rows = [node_row(node) for node in nodes if node.state != "gone"]
            self._live.update(rich_table(NODE_COLUMNS, rows) if rows else Text(""), refresh=True)

    def job(self, job: JobView) -> None:
        """Tell each event of a job that was not told yet."""
        name = f"job {job.id}" if job.id is not None else "job"
        for event in job.timeline[self._told.get(job.burst_id, 0) :]:
            self.say(f"{name} {event.kind}: {event.text}" if event.kind else f"{name}: {event.text}")
        self._told[job.burst_id] = len(job.timeline)

    def accompany(self, gateway: Gateway, jobs: Sequence[str], *, look_s: float = 0.3) -> list[JobView]:
        """Tell what happens to ``jobs`` and the nodes until every job has finished; return the jobs."""
        while True:
            views = [gateway.job(job) for job in jobs]
            for view in views:
                self.job(view)
            self.nodes(gateway.nodes())
            if all(view.finished for view in views):
                return views
            time.sleep(look_s)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def _terminal(self, err: bool) -> bool:
        return (sys.stderr if err else sys.stdout).isatty()
