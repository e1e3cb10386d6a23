"""JobLife: whether the credential of a job is alive, asked by every door that takes one.

Invariant: it lives while its attempt runs on its node: until the node has reported the attempt's end, the job was
cancelled or run again, or it, or what it was narrowed from, was revoked.
"""

from __future__ import annotations

from gateway.errors import NotFound
from gateway.identity.credentials import JobGrant
from gateway.jobs.running import running
from gateway.work import Work


def alive(work: Work, grant: JobGrant) -> bool:
    """Whether a verified credential is still good."""
    try:
        job = work.jobs.get(grant.job)
    except NotFound:
        return False
    attempt = running(job, work.jobs.latest_attempts(grant.job), grant.attempt)
    if attempt is None or grant.node not in attempt.nodes:
        return False
    return not work.jobs.reported(grant.job, grant.attempt, grant.node) and not work.revocations.hit(grant)
