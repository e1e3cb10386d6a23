"""JobKeyService: a running job trades its credential for keys of its own to the store (AssumeRoleWithWebIdentity).

Invariant: keys are issued for the credential's own paths only, while its attempt runs; should it have ended meanwhile,
they are withdrawn before anybody sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.errors import Refused, SignatureExpired
from gateway.identity.audit import Act
from gateway.identity.credentials import CREATE, READ, Credentials, JobGrant
from gateway.service.job_life import alive
from gateway.staging.job_keys import KeyIssuer, KeyRecord, Narrowed, SessionKeys
from gateway.work import Works

ROLE_ARN: Final = "arn:aws:iam:::role/burst/job"
"""AWS_ROLE_ARN of every job: the roles behind it have names that no job may know."""
SHORTEST_S = 900
DEFAULT_S = 1800
"""SDKs ask again in the last quarter of an hour of a session, so one of 900 s would be asked for at every call."""


@dataclass(frozen=True)
class Assumed:
    """Keys, and whom they are for."""

    keys: SessionKeys
    grant: JobGrant
    audience: str
    issuer: str


@dataclass(frozen=True)
class JobKeyService:
    """What answers for the store's own STS; ``keys`` is None where the store has no roles."""

    works: Works
    credentials: Credentials
    keys: KeyIssuer | None
    now: Callable[[], datetime]

    def assume(self, token: str, role_arn: str, seconds: int | None) -> Assumed:
        """Keys for the job whose credential ``token`` is, good for about ``seconds`` and never longer than it.

        Raises BadSignature, SignatureExpired (also when its job is over), Refused, StoreUnavailable, StoreError.
        """
        grant = self.credentials.verify(token, self.now(), lambda _grant: False)
        if self.keys is None:
            raise Refused("This gateway's store has no keys for jobs.", hint="use presigned requests")
        if role_arn != ROLE_ARN:
            raise Refused("A job's credential is good for one role.", hint=f"use {ROLE_ARN}, as in AWS_ROLE_ARN")
        left = int((grant.expires_at - self.now()).total_seconds())
        if left < SHORTEST_S:
            raise SignatureExpired("The credential expires too soon for keys, which live 15 minutes at least.")
        label = f"{grant.attempt}#{grant.jti}" if grant.chain else grant.attempt
        with self.works() as work:
            if not alive(work, grant) or not work.key_records.open(grant.job, label, self.now(), " ".join(grant.chain)):
                raise _over()
            act = Act(f"job:{grant.job}", "store-keys", f"job:{grant.job}", f"keys for {grant.attempt}", job=grant.job)
            work.audit.tell(act, self.now())
        keys = self._issue(self.keys, grant, min(seconds or DEFAULT_S, left))
        with self.works() as work:
            record = work.key_records.get(grant.job, label)
        if record is None or record.ended_at is not None:
            self.keys.withdraw(KeyRecord(grant.job, label, self.now()).role)
            raise _over()
        return Assumed(keys, grant, self.credentials.audience, self.credentials.issuer)

    def _issue(self, issuer: KeyIssuer, grant: JobGrant, seconds: int) -> SessionKeys:
        prefix = f"jobs/{grant.job}/{grant.attempt}/"
        if not grant.chain:
            return issuer.issue(prefix, _reads(grant, prefix), seconds)
        return issuer.issue(prefix, (), seconds, Narrowed(grant.jti, _paths(grant, READ), _paths(grant, CREATE)))


def _reads(grant: JobGrant, prefix: str) -> tuple[str, ...]:
    """What the credential may read besides its own prefix, as keys, or as folders that end in a slash."""
    paths = (scope.removeprefix(f"{READ}:/") for scope in grant.scopes if scope.startswith(f"{READ}:/"))
    return tuple(path for path in paths if path != prefix)


def _paths(grant: JobGrant, capability: str) -> tuple[str, ...]:
    """The paths of a capability's scopes, as keys without a slash at either end."""
    scopes = (scope.partition(":") for scope in grant.scopes)
    return tuple(path.strip("/") for name, _, path in scopes if name == capability)


def _over() -> SignatureExpired:
    return SignatureExpired("The credential was revoked when its job ended.", hint="keys are for running jobs")
