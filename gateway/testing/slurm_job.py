"""SlurmJob: one job as slurmctld keeps it.

Invariant: a requeue is another run of the same job; it ends once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.engines.engine import SchedulerJob
from gateway.testing.virtual_time import START


@dataclass(eq=False)
class SlurmJob:
    """Times are virtual seconds."""

    id: int
    token: str
    nodes_wanted: int
    runs_s: float
    submitted_at: float
    state: str = "PENDING"
    nodes: tuple[str, ...] = ()
    eligible_at: float = 0.0
    placed_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    restarts: int = 0
    runs: list[tuple[int, tuple[str, ...], float, float]] = field(default_factory=list)
    """What it has run: number, nodes, from, until."""

    @property
    def open(self) -> bool:
        """Not ended."""
        return self.state in {"PENDING", "RUNNING"}

    @property
    def states(self) -> frozenset[str]:
        """Base state and flags."""
        return frozenset({self.state, *(("CONFIGURING",) if self.state == "RUNNING" and not self.started_at else ())})

    def begin_on(self, nodes: tuple[str, ...], now: float) -> None:
        """It has its nodes; they may have to be made."""
        self.state, self.nodes, self.placed_at, self.started_at = "RUNNING", nodes, now, None

    def requeue(self, now: float, eligible_at: float) -> None:
        """It lost a node, or somebody wants it to begin anew."""
        self._ran(now)
        if self.started_at is not None:
            self.restarts += 1
        self.state, self.nodes, self.started_at, self.eligible_at = "PENDING", (), None, eligible_at

    def end(self, state: str, now: float) -> None:
        """It is over."""
        self._ran(now)
        self.state, self.ended_at = state, now

    def shown(self) -> SchedulerJob:
        """What an engine reads."""
        return SchedulerJob(
            id=self.id,
            array_job_id=None,
            array_task_id=None,
            token=self.token,
            states=self.states,
            reason="Resources" if self.state == "PENDING" else "None",
            nodes=self.nodes,
            batch_host=next(iter(self.nodes), None),
            submitted_at=_at(self.submitted_at),
            started_at=_at(self.started_at),
            ended_at=_at(self.ended_at),
            exit_code=0 if self.state == "COMPLETED" else None,
            signal=None,
            restarts=self.restarts,
            partition="cloud",
            name=f"job-{self.id}",
            user="user",
            standard_output="",
            standard_error="",
        )

    def _ran(self, now: float) -> None:
        if self.started_at is not None:
            self.runs.append((self.restarts, self.nodes, self.started_at, now))


def _at(seconds: float | None) -> datetime | None:
    return None if seconds is None else START + timedelta(seconds=seconds)
