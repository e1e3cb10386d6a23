"""Revocations: credentials of jobs that were ended before their time, kept until that time.

Invariant: with a credential everything ends that was narrowed from it; a revocation is never taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.identity.credentials import JobGrant


@dataclass(frozen=True)
class Revocation:
    """The end of one credential (``jti``), or of all that ``job`` was given until ``at`` (``jti`` empty).

    ``until`` is when the last of them would have ended by itself.
    """

    job: str
    jti: str
    by: str
    at: datetime
    until: datetime


class Revocations(Protocol):
    """The stored revocations."""

    def add(self, revocation: Revocation) -> bool:
        """Record one, and forget those that are past; False when that credential was revoked before."""

    def hit(self, grant: JobGrant) -> bool:
        """Whether a credential, or one that it was narrowed from, was revoked."""
