"""Slurm tokens: what a client of Slurm's REST API shows instead of a signature, good for looking only.

Invariant: a token is worth no more than the session that asked for it: it ends with it, and signs nothing. The claim
``sun`` is Slurm's (auth/jwt), so that clients which look into a token find the user.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway.errors import BadSignature, SignatureExpired
from gateway.identity.key_ring import KeyRing

TOKEN_TYPE: Final = "burst-slurm+jwt"  # noqa: S105 - a media type
READS: Final = "slurm.read"
_HINT = "scontrol token gives a new one"


@dataclass(frozen=True)
class SlurmTokens:
    """Makes and reads the tokens of one gateway; ``issuer`` is its URL, ``audience`` its name."""

    ring: KeyRing
    issuer: str
    audience: str

    def mint(self, user: str, session: str, now: datetime, expires: datetime) -> str:
        """A token for ``user``, tied to the session that signed for it."""
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": user,
            "sun": user,
            "sid": session,
            "scope": READS,
            "iat": int(now.timestamp()),
            "exp": int(expires.timestamp()),
        }
        return self.ring.sign(json.dumps(claims).encode(), TOKEN_TYPE, now)

    def session_of(self, token: str, now: datetime) -> str:
        """The id of the session that it is tied to. Raises BadSignature or SignatureExpired."""
        claims = json.loads(self.ring.verify(token, TOKEN_TYPE))
        if (claims["iss"], claims["aud"], claims["scope"]) != (self.issuer, self.audience, READS):
            raise BadSignature("The token is for another service.", hint=_HINT)
        if now >= datetime.fromtimestamp(claims["exp"], UTC):
            raise SignatureExpired("The token has expired.", hint=_HINT)
        return str(claims["sid"])
