"""Who sent a request: the signature's last mile, from an Authorization header to a user or a node.

Invariant: a nonce is used only after everything else held, and stays used whatever becomes of the request.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.errors import BadSignature
from gateway.identity import jws
from gateway.identity.evidence import Evidence
from gateway.identity.join import node_of
from gateway.identity.keys import Key, read_secret
from gateway.identity.scopes import ALL, LOOKING, Scopes
from gateway.identity.sessions import Session, SessionStore
from gateway.identity.signature import MUTATING, Claims, token_of, verify_request
from gateway.identity.users import User, UserStore


@dataclass(frozen=True)
class Request:
    """A request as it came; ``path`` with its query, ``authorization`` the header's value."""

    method: str
    path: str
    body: bytes
    authorization: str | None


@dataclass(frozen=True)
class Reader:
    """Who may look: a browser with its cookie is no more than that."""

    user: User

    @property
    def scopes(self) -> Scopes:
        """What of its user's rights it has."""
        return LOOKING


@dataclass(frozen=True)
class Vouched(Reader):
    """Whom a site's own slurmctld names; they signed nothing here, the site's key vouches for them."""

    @property
    def scopes(self) -> Scopes:
        """All: a Unix login has no parts."""
        return ALL


@dataclass(frozen=True)
class Caller(Reader):
    """Who signed a request; ``evidence`` is to be kept with what the request authorises."""

    session: Session
    claims: Claims
    evidence: Evidence

    @property
    def scopes(self) -> Scopes:
        """Those of its session."""
        return self.session.scopes


class NonceStore(Protocol):
    """The nonces that were used."""

    def use(self, claims: Claims, now: datetime) -> None:
        """Use the nonce of ``claims``. Raises SignatureReplayed for one that was used."""


@dataclass(frozen=True)
class Verifier:
    """Whose signatures a gateway takes: ``audience`` is its own name in them."""

    audience: str
    skew_s: int

    def user(
        self, request: Request, sessions: SessionStore, users: UserStore, nonces: NonceStore, now: datetime
    ) -> Caller:
        """The user who signed. Raises BadSignature, SignatureExpired or SignatureReplayed."""
        token = token_of(request.authorization)
        session = sessions.get(jws.kid_of(token))
        claims = self._verify(token, session.key, request, now)
        session.check(now)
        _use(nonces, request, claims, now)
        evidence = Evidence(
            claims.digest, token, claims.kid, request.method, request.path, request.body, session.public_key, now
        )
        user = users.get(session.user)
        user.check()
        return Caller(user, session, claims, evidence)

    def node(
        self, request: Request, secret_of: Callable[[str], tuple[int, str | None]], nonces: NonceStore, now: datetime
    ) -> str:
        """The name of the node that signed; ``secret_of(name)`` gives its present generation and secret.

        Raises as ``user`` does; an earlier generation of the node is a bad signature.
        """
        token = token_of(request.authorization)
        name, generation = node_of(jws.kid_of(token))
        current, secret = secret_of(name)
        if secret is None or generation != current:
            raise BadSignature("This node is not one of the gateway's any more.", hint="end it; it has been replaced")
        claims = self._verify(token, read_secret(secret), request, now)
        _use(nonces, request, claims, now)
        return name

    def _verify(self, token: str, key: Key, request: Request, now: datetime) -> Claims:
        return verify_request(
            token,
            key,
            method=request.method,
            path=request.path,
            body=request.body,
            audience=self.audience,
            now=now,
            skew_s=self.skew_s,
        )


def bearer_of(header: str | None) -> str:
    """The token of a Bearer Authorization header. Raises BadSignature when it has none."""
    scheme, _, token = (header or "").partition(" ")
    if not hmac.compare_digest(scheme.lower().encode(), b"bearer") or not token.strip():
        raise BadSignature("The request carries no job credential.", hint="send Authorization: Bearer TOKEN")
    return token.strip()


def _use(nonces: NonceStore, request: Request, claims: Claims, now: datetime) -> None:
    if request.method in MUTATING:
        nonces.use(claims, now)
