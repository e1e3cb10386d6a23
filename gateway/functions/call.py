"""Call: one call of a simulation, from its parameters to its result, or to the job that will have it.

Invariant: a call never outlasts its deadline; the job that it began goes on and can be asked for again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.client.job import Job
from gateway.client.simulation import Simulation
from gateway.errors import InvalidRequest

_FIRST_LOOK_S = 0.1
_LONGEST_LOOK_S = 2.0
_JOB = "job"
"""The one name that no parameter may have: ``{"job": 12}`` asks for the result of a call that began before."""


@dataclass(frozen=True)
class Answer:
    """``document`` holds the job's id, and either its ``result`` or its ``state`` and why it waits."""

    finished: bool
    document: Mapping[str, Any]


def call(simulation: Simulation, values: object, *, within_s: float, key: str | None = None) -> Answer:
    """Run the simulation, or look for the job that is named, and wait for it at most ``within_s`` seconds.

    The same ``key`` again means the same job. Raises InvalidRequest, JobFailed, and what a submission raises.
    """
    ends = time.monotonic() + within_s
    if not isinstance(values, dict):
        raise InvalidRequest("the body is not a JSON object", hint='send {"PARAMETER": VALUE, …}')
    job = _known(simulation, values) if _JOB in values else simulation.submit(values, key)
    if _finished(job, ends):
        return Answer(True, {_JOB: job.name, "result": simulation.result(job)})
    view = job.status()
    return Answer(False, {_JOB: job.name, "state": view.state, "reason": view.reason})


def _known(simulation: Simulation, values: Mapping[str, Any]) -> Job:
    if len(values) > 1 or not isinstance(values[_JOB], int | str):
        raise InvalidRequest('"job" is asked for alone', hint='send {"job": ID}', field=_JOB)
    return simulation.job(values[_JOB])


def _finished(job: Job, ends: float) -> bool:
    never, pause = threading.Event(), _FIRST_LOOK_S
    while not job.status().finished:
        left = ends - time.monotonic()
        if left <= 0:
            return False
        never.wait(min(pause, left))
        pause = min(2 * pause, _LONGEST_LOOK_S)
    return True
