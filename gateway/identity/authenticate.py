"""Who sent a request: the signature's last mile, from an Authorization header to a user or a node.

Invariant: a nonce is used only after everything else held, and stays used whatever becomes of the request.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from joserfc.jwk import OKPKey

from gateway.errors import BadSignature
from gateway.identity import jws
from gateway.identity.evidence import Evidence
from gateway.identity.join import node_of
from gateway.identity.keys import Key, public_jwk, read_public
from gateway.identity.scopes import ALL, LOOKING, Scope, Scopes
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
class Present(Reader):
    """Who gives their password in the very form that they send: for their own ways to log in."""

    @property
    def scopes(self) -> Scopes:
        """A cookie alone has not the second."""
        return frozenset({Scope.PEOPLE_READ, Scope.PEOPLE_WRITE})


@dataclass(frozen=True)
class Looker(Reader):
    """Who looks with what belongs to a session: a token of Slurm's, or a browser whose key was certified."""

    given: Scopes

    @property
    def scopes(self) -> Scopes:
        """For looking, and no more than its session has."""
        return LOOKING & self.given


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


class Once(Protocol):
    """What may be used once until it expires: ``nonce`` is its own among those of the key ``kid``."""

    @property
    def kid(self) -> str:
        """Whose it is."""

    @property
    def nonce(self) -> str:
        """What tells it from others."""

    @property
    def expires_at(self) -> datetime:
        """When it would not be taken anyway."""


class NonceStore(Protocol):
    """The nonces that were used."""

    def use(self, claims: Once, now: datetime) -> None:
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
        session = sessions.get(jws.kid_of(token_of(request.authorization)))
        claims, evidence = self.holder(request, session.key, now)
        session.check(now)
        _use(nonces, request, claims, now)
        user = users.get(session.user)
        user.check()
        return Caller(user, session, claims, evidence)

    def holder(self, request: Request, key: OKPKey, now: datetime) -> tuple[Claims, Evidence]:
        """What whoever holds ``key`` signed; the nonce is not used yet. Raises BadSignature or SignatureExpired."""
        token = token_of(request.authorization)
        claims = self._verify(token, key, request, now)
        kept = (request.method, request.path, request.body, public_jwk(key), now)
        return claims, Evidence(claims.digest, token, claims.kid, *kept)

    def node(
        self,
        request: Request,
        key_of: Callable[[str], tuple[int, Mapping[str, str] | None]],
        nonces: NonceStore,
        now: datetime,
    ) -> str:
        """The name of the node that signed; ``key_of(name)`` gives its present generation and public JWK.

        Raises as ``user`` does; an earlier generation of the node is a bad signature.
        """
        token = token_of(request.authorization)
        name, generation = node_of(jws.kid_of(token))
        current, jwk = key_of(name)
        if jwk is None or generation != current:
            raise BadSignature("This node is not one of the gateway's any more.", hint="end it; it has been replaced")
        claims = self._verify(token, read_public(jwk), request, now)
        _use(nonces, request, claims, now)
        return name

    def newcomer(
        self, request: Request, jwk: Mapping[str, object], kid: str, nonces: NonceStore, now: datetime
    ) -> OKPKey:
        """The public key of a machine that proves, as ``kid``, to have its private half. Raises as ``user`` does."""
        token = token_of(request.authorization)
        if not hmac.compare_digest(jws.kid_of(token).encode(), kid.encode()):
            raise BadSignature("The request is signed for another machine.", hint=f"sign with kid {kid}")
        key = read_public(jwk)
        _use(nonces, request, self._verify(token, key, request, now), now)
        return key

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
