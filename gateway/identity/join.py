"""Who a node is: the digest of its one-time join token, and the name of the key that it signs with afterwards.

Invariant: the gateway keeps a join token only as its digest; a node's key belongs to one generation of one node.
"""

from __future__ import annotations

import hashlib
import re

from gateway.errors import BadSignature

_KID = re.compile(r"node:([a-z][a-z0-9-]{0,62}):(\d{1,9})")


def token_hash(token: str) -> str:
    """What is kept of a join token: its SHA-256, hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def node_kid(name: str, generation: int) -> str:
    """The ``kid`` of a node's signatures: "node:NAME:GENERATION"."""
    return f"node:{name}:{generation}"


def gang_kid(gang: str, number: int) -> str:
    """The ``kid`` of a join request of a machine that knows only its number: "gang:TOKEN:NUMBER"."""
    return f"gang:{gang}:{number}"


def node_of(kid: str) -> tuple[str, int]:
    """Name and generation of a ``node_kid``. Raises BadSignature."""
    found = _KID.fullmatch(kid)
    if found is None:
        raise BadSignature("The key is not a node's.", hint="sign with kid node:NAME:GENERATION")
    return found[1], int(found[2])
