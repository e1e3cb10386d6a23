"""Certificates of keys, kept: what bound a user's key to their name on the day that it signed.

Invariant: a certificate is kept as it was first given, so that it can be verified after the session has ended and the
gateway's key has changed; a site's key, which no login made, is certified when it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from gateway.errors import BadProof, BadSignature
from gateway.identity.key_ring import KeyRing, verify_with
from gateway.identity.sessions import CERTIFICATE_TYPE

SITE_CERTIFICATE_TYPE: Final = "burst-site+jwt"


class CertificateStore(Protocol):
    """The kept certificates, inside one transaction of the database."""

    def keep(self, session: str, token: str) -> None:
        """Keep a session's certificate; the first one stays."""

    def of(self, session: str) -> str | None:
        """The certificate of a session, if it was given one."""


@dataclass(frozen=True)
class Certificate:
    """Whose key it is, by the word of a gateway. ``kid`` is the name of the key in signatures; times in UTC."""

    kid: str
    subject: str
    key: Mapping[str, str]
    not_before: datetime
    not_after: datetime | None
    site: bool = False
    """A site's key, which vouches for users of its Slurm, and not a user's own."""


def certify_site(site: str, key: Mapping[str, str], ring: KeyRing, audience: str, now: datetime) -> str:
    """A JWT of the gateway's that names the key of its site's slurmctld."""
    claims = {"iss": audience, "aud": audience, "sub": site, "sid": f"site:{site}", "iat": int(now.timestamp()),
              "cnf": {"jwk": dict(key)}}  # fmt: skip
    return ring.sign(json.dumps(claims).encode(), SITE_CERTIFICATE_TYPE, now)


def read_certificate(token: str, jwks: Mapping[str, Any], audience: str) -> Certificate:
    """What a certificate says, signed by a key of ``jwks`` for ``audience``. Raises BadProof."""
    for typ in (CERTIFICATE_TYPE, SITE_CERTIFICATE_TYPE):
        try:
            claims = json.loads(verify_with(jwks, token, typ))
        except BadSignature as error:
            wrong = error.detail
            continue
        if claims["aud"] != audience:
            raise BadProof("The certificate is of another gateway.", hint="ask for the proof again")
        return _certificate(claims, site=typ == SITE_CERTIFICATE_TYPE)
    raise BadProof(f"The certificate of the user's key does not hold: {wrong}", hint="ask for the proof again")


def _certificate(claims: Mapping[str, Any], *, site: bool) -> Certificate:
    ends = None if site else datetime.fromtimestamp(claims["exp"], UTC)
    begins = datetime.fromtimestamp(0 if site else claims["iat"], UTC)
    return Certificate(claims["sid"], claims["sub"], claims["cnf"]["jwk"], begins, ends, site)
