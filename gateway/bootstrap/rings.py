"""The gateway's two rings of signing keys, opened as its process opens them.

Invariant: they are sealed; the keys of credentials are published until the last credential that they signed has ended.
"""

from __future__ import annotations

from datetime import timedelta

from gateway.bootstrap.clock import utc_now
from gateway.identity.key_ring import KeyRing
from gateway.identity.sealing import Sealer
from gateway.service.nodes import CREDENTIAL_GRACE
from gateway.settings import Settings


def signing_keys(settings: Settings, sealer: Sealer) -> KeyRing:
    """Ed25519, for certificates of logins, receipts and what else is verified years later. Raises SetupError."""
    return KeyRing.open(settings.secrets_dir / "signing-keys.json", utc_now(), sealer=sealer)


def credential_keys(settings: Settings, sealer: Sealer) -> KeyRing:
    """ES256, for the credentials of jobs, which others verify. Raises SetupError."""
    path = settings.secrets_dir / "credential-keys.json"
    return KeyRing.open(path, utc_now(), "ES256", sealer=sealer, keeps_for=longest_credential(settings))


def longest_credential(settings: Settings) -> timedelta:
    """How long a job's credential can live."""
    return timedelta(minutes=settings.max_time_limit_min) + CREDENTIAL_GRACE
