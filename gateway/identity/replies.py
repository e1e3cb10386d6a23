"""Signed replies: the gateway's word that an answer is its own, whole, and the one to this very request.

Invariant: a signature binds the token of the request, the status and the body, so that an answer can neither be
altered nor given to another request; each token has a nonce of its own, so no time is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any, Final, Protocol

from gateway.errors import BadReply, BadSignature
from gateway.identity import jws
from gateway.identity.keys import KeyPair
from gateway.identity.signature import body_digest

REPLY_HEADER: Final = "Burst-Signature"
REPLY_TYPE: Final = "burst-reply+jws"
_HINT: Final = "nothing of it was believed; something between here and the gateway changes answers: burst whoami"


class Signer(Protocol):
    """What signs for the gateway: its key ring."""

    def sign(self, payload: bytes, typ: str, now: datetime) -> str:
        """A compact JWS over ``payload``."""


def sign_reply(signer: Signer, token: str, status: int, body: bytes, now: datetime) -> str:
    """The value of the header of an answer; ``token`` is the request's, ``body`` the answer's bytes as sent."""
    claims = {"req": token_digest(token), "sts": status, "bsh": body_digest(body), "iat": int(now.timestamp())}
    return signer.sign(json.dumps(claims, separators=(",", ":")).encode(), REPLY_TYPE, now)


def check_reply(header: str | None, key: KeyPair, token: str, status: int, body: bytes) -> None:
    """Raise BadReply unless ``key`` signed exactly this answer to exactly this request."""
    if header is None:
        raise BadReply("The answer is not signed.", hint=_HINT)
    try:
        said = json.loads(jws.verify(header, key, typ=REPLY_TYPE))
    except (BadSignature, ValueError, RecursionError) as error:
        raise BadReply("The answer's signature is not the gateway's.", hint=_HINT) from error
    for name, what, actual in (
        ("req", "another request", token_digest(token)),
        ("sts", "another status", status),
        ("bsh", "another body", body_digest(body)),
    ):
        if not _equal(said.get(name), actual):
            raise BadReply(f"The answer was signed for {what}.", hint=_HINT)


def token_digest(token: str) -> str:
    """SHA-256 of a request's token, hex: what its evidence is called, too."""
    return hashlib.sha256(token.encode()).hexdigest()


def _equal(said: Any, actual: object) -> bool:
    return type(said) is type(actual) and hmac.compare_digest(str(said).encode(), str(actual).encode())
