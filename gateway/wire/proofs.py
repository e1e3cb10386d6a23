"""Proofs: a receipt with all that is needed to verify it without any gateway, and the gateway's published keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from gateway.wire.form import View

SEAL_TYPE = "burst-proof+jws"
KEYS_SEAL_TYPE = "burst-keys+jws"


class GatewayKeys(View):
    """The gateway's own Ed25519 keys (JWKs, newest first), and what each said of the one after it."""

    audience: str
    keys: tuple[dict[str, str], ...]
    successions: tuple[str, ...]
    seal: str = ""
    """The newest key's signature over the SHA-256 of all the rest."""


class EvidenceView(View):
    """A signed request as it came; ``body`` in base64."""

    digest: str
    jws: str
    kid: str
    method: str
    path: str
    body: str
    public_key: dict[str, str]
    at: datetime


class Proof(View):
    """Who ordered a job, what it cost, and every key that says so; ``seal`` is over all the rest."""

    form: Literal["burst-proof/1"] = "burst-proof/1"
    audience: str
    job: int | None
    receipt: dict[str, Any]
    """The document that ``signature`` is over."""
    signature: str
    evidence: EvidenceView
    certificate: str
    """Of the key that signed the evidence."""
    keys: tuple[dict[str, str], ...]
    successions: tuple[str, ...]
    exported_at: datetime
    seal: str = ""
