"""Joining: how a machine that was just created proves that it is the node it was created for.

Invariant: the gateway keeps only the digest of a join token; the token is good once, for one node, until its deadline.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.errors import BadSignature, SignatureExpired, SignatureReplayed

_KID = re.compile(r"node:([a-z][a-z0-9-]{0,62}):(\d{1,9})")
_HINT = "the gateway will replace this node"


@dataclass(frozen=True)
class JoinToken:
    """A new token; ``secret`` goes into the user-data, the rest is kept."""

    secret: str
    token_hash: str
    expires_at: datetime


def new_join_token(now: datetime, lifetime: timedelta) -> JoinToken:
    """A random token of 256 bit."""
    secret = secrets.token_urlsafe(32)
    return JoinToken(secret, token_hash(secret), now + lifetime)


def token_hash(secret: str) -> str:
    """What is kept of a join token: its SHA-256, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_join(secret: str, digest: str | None, expires_at: datetime | None, now: datetime) -> None:
    """Raise unless ``secret`` is the token of ``digest`` and in time.

    Raises SignatureReplayed when there is no token any more, BadSignature for a wrong one, SignatureExpired for a late
    one. The caller forgets the digest in the same transaction, by an UPDATE that names it.
    """
    if digest is None:
        raise SignatureReplayed("This node has joined already.", hint=_HINT)
    if not hmac.compare_digest(token_hash(secret), digest):
        raise BadSignature("That is not this node's join token.", hint=_HINT)
    if expires_at is None or now >= expires_at:
        raise SignatureExpired("The node came too late to join.", hint=_HINT)


def node_kid(name: str, generation: int) -> str:
    """The ``kid`` of a node's signatures: "node:NAME:GENERATION"."""
    return f"node:{name}:{generation}"


def node_of(kid: str) -> tuple[str, int]:
    """Name and generation of a ``node_kid``. Raises BadSignature."""
    found = _KID.fullmatch(kid)
    if found is None:
        raise BadSignature("The key is not a node's.", hint="sign with kid node:NAME:GENERATION")
    return found[1], int(found[2])
