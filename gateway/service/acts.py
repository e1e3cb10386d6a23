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


def login_act(user: str, session: str, how: str, address: str) -> Act:
    """That a key was certified for a user."""
    return Act(user, "login", f"session:{session}", how, address=address[:64])
