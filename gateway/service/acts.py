"""Acts: how what a signed request did is told to the audit log.

Invariant: an act names the digest of the request that it was authorised by.
"""

from __future__ import annotations

from typing import Any

from gateway.identity.audit import Act
from gateway.identity.authenticate import Caller
from gateway.jobs.job import Job


def act_of(caller: Caller, action: str, subject: str, text: str, **more: Any) -> Act:
    """What who signed did to ``subject``; ``more`` are fields of Act."""
    return Act(caller.user.name, action, subject, text, **{"authorisation": caller.evidence.digest, **more})


def job_act(caller: Caller, job: Job, action: str, text: str, **more: Any) -> Act:
    """What who signed did to a job."""
    return act_of(caller, action, f"job:{job.id}", text, job=job.id, **more)
