"""Evidence: a signed request as it came, kept with what it authorised.

Invariant: it is enough to verify the request again, years later and without the gateway: the token, the bytes that it
covers and the public key are all in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.identity.keys import read_public
from gateway.identity.signature import MAX_LIFETIME_S, Claims, verify_request


@dataclass(frozen=True)
class Evidence:
    """One mutating request; ``digest`` is the SHA-256 of its token and what other rows refer to."""

    digest: str
    jws: str
    kid: str
    method: str
    path: str
    body: bytes
    public_key: Mapping[str, str]
    at: datetime


class EvidenceStore(Protocol):
    """The stored evidence; nothing in it changes."""

    def keep(self, evidence: Evidence) -> None:
        """Keep it; keeping the same again is no error."""

    def get(self, digest: str) -> Evidence:
        """By its digest. Raises NotFound."""


def verify_evidence(evidence: Evidence, audience: str) -> Claims:
    """What the request said, verified as on the day that it came. Raises BadSignature or SignatureExpired."""
    return verify_request(
        evidence.jws,
        read_public(evidence.public_key),
        method=evidence.method,
        path=evidence.path,
        body=evidence.body,
        audience=audience,
        now=evidence.at,
        skew_s=MAX_LIFETIME_S * 3,  # the widest skew that a gateway may have been set to, and then some
    )
