"""Specification: what a node is told to run, signed, so that its agent runs that and nothing else.

Invariant: it is for one node of one generation, answers one request, and names script and plan by their digests. Its
key vouches to that node alone: it comes from a secret of the gateway, is in no database, and is told at the join.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.identity import jws
from gateway.identity.keys import read_secret

TYPE: Final = "burst-job+jws"
LIFETIME_S: Final = 300


@dataclass(frozen=True)
class Voucher:
    """Signs specifications; ``secret`` is the gateway's own."""

    secret: bytes

    def key(self, node: str) -> str:
        """The key, base64url, with which the node of that kid ("node:NAME:GENERATION") checks what it is told."""
        digest = hmac.digest(self.secret, f"specification {node}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def sign(self, node: str, plan: Mapping[str, Any], script: str | None, nonce: str, now: datetime) -> str:
        """A compact JWS over the digests of ``plan``, as it goes over the wire, and of the batch script.

        ``script`` None: the job came by the site's own sbatch, and its script is not the gateway's to vouch for.
        """
        issued = int(now.timestamp())
        claims = {
            "aud": node,
            "nonce": nonce,
            "iat": issued,
            "exp": issued + LIFETIME_S,
            "plan_sha256": plan_digest(plan),
            "script_sha256": None if script is None else hashlib.sha256(script.encode()).hexdigest(),
        }
        return jws.sign(json.dumps(claims).encode(), read_secret(self.key(node)), kid=node, typ=TYPE)


def plan_digest(plan: Mapping[str, Any]) -> str:
    """SHA-256, hex, of a plan's JSON with sorted keys and no blanks."""
    text = json.dumps(plan, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
