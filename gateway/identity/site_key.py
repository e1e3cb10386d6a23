"""SiteKey: what vouches for a job that came by a site's own sbatch, where no user has signed anything.

Invariant: such a job's evidence is a request signed by this key over slurmctld's own word on who submitted it; it can
be verified like a user's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc.jwk import OKPKey

from gateway.identity.evidence import Evidence
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.signature import open_request, sign_request


@dataclass(frozen=True)
class SiteKey:
    """The site's Ed25519 key; ``site`` is the gateway's name of it, ``audience`` the gateway's own name."""

    key: OKPKey
    site: str
    audience: str

    @classmethod
    def read(cls, text: bytes, site: str, audience: str) -> SiteKey:
        """The key that ``new_key`` made."""
        return cls(OKPKey.import_key(json.loads(text)), site, audience)

    def vouch(self, job_id: int, facts: Mapping[str, Any], max_spend_ucr: int, now: datetime) -> Evidence:
        """Evidence that slurmctld has job ``job_id`` with these facts, uid and script's digest among them."""
        body = json.dumps({"job": job_id, **facts}, sort_keys=True).encode()
        path, kid = f"/site/jobs/{job_id}", f"site:{self.site}"
        token = sign_request(self.key, kid, "POST", path, body, self.audience, now, max_spend_ucr=max_spend_ucr)
        digest = open_request(token, self.key).digest
        return Evidence(digest, token, kid, "POST", path, body, public_jwk(self.key), now)


def new_key() -> bytes:
    """A new key as its private JWK; to be kept in a file that only the gateway can read."""
    return json.dumps(make_key().as_dict(private=True)).encode()
