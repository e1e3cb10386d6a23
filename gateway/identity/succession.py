"""Succession: a signing key of the gateway's that vouches for the one after it, so that a pinned key can be followed.

Invariant: a statement is made once, by the old key, when the new one is made; whoever trusts the old key may trust the
new one, and never the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from gateway.errors import BadSignature, InvalidRequest
from gateway.identity import jws
from gateway.identity.keys import KeyPair, public_jwk, read_published, thumbprint

SUCCESSION_TYPE: Final = "burst-succession+jws"
KEYS_PATH: Final = "/.well-known/burst-keys"
"""Where the gateway publishes its Ed25519 keys and their successions, beside the JWK Set."""


def announce(old: KeyPair, new: KeyPair, now: datetime) -> str:
    """A statement that ``new`` signs after ``old``, signed by ``old``."""
    claims = {"jwk": public_jwk(new), "iat": int(now.timestamp())}
    return jws.sign(json.dumps(claims).encode(), old, kid=thumbprint(old), typ=SUCCESSION_TYPE)


def lineage(pinned: Mapping[str, str], statements: Iterable[str]) -> list[dict[str, str]]:
    """``pinned`` and every key that it, or one after it, vouches for, oldest first; other statements say nothing."""
    key = read_published(pinned)
    found = [public_jwk(key)]
    by_signer = _by_signer(statements)
    while (statement := by_signer.pop(thumbprint(key), None)) is not None:
        try:
            key = read_published(json.loads(jws.verify(statement, key, typ=SUCCESSION_TYPE))["jwk"])
        except (BadSignature, InvalidRequest, ValueError, KeyError, TypeError):
            break
        found.append(public_jwk(key))
    return found


def fingerprint(jwk: Mapping[str, Any]) -> str:
    """What people compare: "SHA256:" and the key's thumbprint (RFC 7638). Raises InvalidRequest."""
    return f"SHA256:{thumbprint(read_published(jwk))}"


def _by_signer(statements: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for statement in statements:
        try:
            found.setdefault(jws.kid_of(statement), statement)
        except BadSignature:
            continue
    return found
