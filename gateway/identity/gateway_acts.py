"""Acts of the gateway itself, as they are told to the audit log.

Invariant: what it does for a job it does under the authorisation that the job came with.
"""

from __future__ import annotations

from typing import Any

from gateway.identity.audit import Act, Outcome
from gateway.jobs.job import Job


def gateway_act(job: Job, action: str, subject: str, text: str, **more: Any) -> Act:
    """What the gateway did for a job, under the authorisation that the job came with."""
    return Act("gateway", action, subject, text, **{"authorisation": job.authorisation, "job": job.id, **more})


def settle_act(job: Job, receipt: str, charged_ucr: int) -> Act:
    """That a job's hold became a receipt."""
    return gateway_act(job, "settle", f"account:{job.account}", f"receipt {receipt}", amount_ucr=charged_ucr)


def refusal_act(job: Job, why: str) -> Act:
    """That a job that was paid for could not run."""
    return gateway_act(job, "refuse-job", f"job:{job.id}", why, outcome=Outcome.REFUSED)
