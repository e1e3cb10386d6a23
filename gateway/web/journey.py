"""Journey: the stages of a job as steps for a picture: which are done, which is now, how long each took.

Invariant: every time is one of the job's own timeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gateway.wire import JobView

_STEPS: Final = (
    ("Paid for", "submitted", "funded"),
    ("Inputs", "funded", "staged-in"),
    ("Queued", "staged-in", "running"),
    ("Running", "running", "ran"),
    ("Outputs", "ran", "staged-out"),
    ("Receipt", "staged-out", "settled"),
)
"""Name, and between which events of the timeline it is."""


@dataclass(frozen=True)
class Step:
    """One step; ``took_s`` is known when it is done."""

    name: str
    state: Literal["done", "now", "todo", "skipped"]
    since: datetime | None
    took_s: float | None


def journey(job: JobView) -> list[Step]:
    """The steps of a job."""
    at = {event.kind: event.at for event in job.timeline}
    return [_step(name, begins, ends, at) for name, begins, ends in _STEPS]


def _step(name: str, begins: str, ends: str, at: Mapping[str, datetime]) -> Step:
    if begins == "running" and begins not in at:
        return Step(name, "skipped" if "ran" in at else "todo", None, None)
    end = at.get(ends) or (at.get("ran") if ends == "running" else None)
    start = at.get(begins)
    if start is None:
        return Step(name, "todo", None, None)
    if end is None:
        return Step(name, "now", start, None)
    return Step(name, "done", start, max(0.0, (end - start).total_seconds()))
