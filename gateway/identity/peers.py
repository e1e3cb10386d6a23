"""Peers: the gateways that this one trusts, and the visas with which their users come.

Invariant: who is not in the registry vouches for nobody; a visa is for one gateway, for minutes, for one key; a visitor
may spend from the projects here that their gateway was trusted for, and from nothing else.

    ada ── signed request ──► home gateway      POST /api/v1/visas     a visa: "this key is ada's", for that gateway
    ada ── visa, signed ────► visited gateway   POST /api/v1/visits    a session there, as ada@HOME
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from joserfc.jwk import OKPKey

from gateway.errors import BadSignature, InvalidRequest, Refused, SignatureExpired
from gateway.identity import jws
from gateway.identity.key_ring import KeyRing, verify_with
from gateway.identity.keys import public_jwk, read_public
from gateway.identity.scopes import Scope, Scopes
from gateway.identity.sessions import Session

VISA_TYPE: Final = "burst-visa+jwt"
VISA_LIFETIME: Final = timedelta(minutes=5)
VISIT_LIFETIME: Final = timedelta(hours=1)
VISITING: Final[Scopes] = frozenset(
    {
        Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.STORAGE_READ, Scope.STORAGE_WRITE,
        Scope.MONEY_READ, Scope.NODES_READ, Scope.PEOPLE_READ,
    }
)  # fmt: skip
"""What a visitor may at most: run jobs and see what they cost."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}")
_LONGEST = 128
_HINT = "its administrator and yours arrange it: burst peers trust"


@dataclass(frozen=True)
class Peer:
    """A gateway that is trusted; ``issuer`` is its URL, ``audience`` its name in signatures, ``keys`` its JWK Set.

    ``projects`` are groups here that its users may spend from; with none, only our users go there.
    """

    name: str
    issuer: str
    audience: str
    keys: Mapping[str, Any]
    projects: tuple[str, ...]
    trusted_by: str
    authorisation: str
    since: datetime


@dataclass(frozen=True)
class Visit:
    """A session that a visa was traded for; ``authorisation`` is the signed request that brought the visa."""

    session: str
    peer: str
    visa: str
    authorisation: str
    at: datetime


class PeerStore(Protocol):
    """The registry, inside one transaction of the database."""

    def put(self, peer: Peer) -> None:
        """Trust a gateway, or change what it is trusted for. Raises Conflict when another has its issuer."""

    def get(self, name: str) -> Peer:
        """A peer by our name of it. Raises NotFound."""

    def by_issuer(self, issuer: str) -> Peer:
        """A peer by its own name of itself. Raises BadSignature: unknown is as good as forged."""

    def all(self) -> tuple[Peer, ...]:
        """Every peer, by name."""

    def remove(self, name: str) -> None:
        """Trust it no more. Raises NotFound."""

    def visit(self, visit: Visit) -> None:
        """Keep a visit. Raises SignatureReplayed when its visa was used before."""

    def sessions_of(self, name: str, now: datetime) -> tuple[str, ...]:
        """The sessions of a peer's users that could sign at ``now``."""


@dataclass(frozen=True)
class Visa:
    """What a home gateway says of one of its users; ``key`` is the public key that they come with, a JWK."""

    id: str
    user: str
    session: str
    key: Mapping[str, str]
    scopes: Scopes


def check_peer(peer: Peer) -> Peer:
    """The peer. Raises InvalidRequest when its name or one of its keys cannot be."""
    if not _NAME.fullmatch(peer.name):
        raise InvalidRequest(f"{peer.name!r} is no name of a peer.", hint="use a-z, 0-9 and dashes", field="name")
    keys = [key for key in peer.keys.get("keys", ()) if key.get("kty") == "OKP"]
    if not keys:
        raise InvalidRequest("The peer has no Ed25519 key.", hint="its /.well-known/jwks.json has them", field="keys")
    for key in keys:
        read_public({name: value for name, value in key.items() if name in {"kty", "crv", "x", "d"}})
    return peer


def issue(session: Session, key: OKPKey, peer: Peer, issuer: str, ring: KeyRing, now: datetime) -> str:  # noqa: PLR0917 - who, with what, where; by whom, when
    """A visa of ours that lets ``key`` into ``peer``; it never gives more than the session has.

    Raises Refused for somebody who is a visitor here.
    """
    if "@" in session.user:
        raise Refused("A visitor goes nowhere from here.", hint="ask your own gateway for a visa")
    claims = {
        "iss": issuer,
        "sub": session.user,
        "aud": peer.audience,
        "sid": session.id,
        "scope": " ".join(sorted(session.scopes & VISITING)),
        "iat": int(now.timestamp()),
        "exp": int(min(now + VISA_LIFETIME, session.expires_at).timestamp()),
        "jti": secrets.token_urlsafe(16),
        "cnf": {"jwk": public_jwk(key)},
    }
    return ring.sign(json.dumps(claims).encode(), VISA_TYPE, now)


def issuer_of(visa: str) -> str:
    """Who says to have issued it: not yet believed. Raises BadSignature for what is no JWT."""
    return str(jws.claims_of(visa).get("iss"))


def check(visa: str, peer: Peer, audience: str, now: datetime, skew: timedelta) -> Visa:
    """What the visa says, once all of it holds. Raises BadSignature, SignatureExpired."""
    claims = json.loads(verify_with(peer.keys, visa, VISA_TYPE))
    if (claims.get("iss"), claims.get("aud")) != (peer.issuer, audience):
        raise BadSignature("The visa is for another gateway.", hint=_HINT)
    try:
        issued, expires = (datetime.fromtimestamp(claims[name], UTC) for name in ("iat", "exp"))
        said = _read(claims)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        # Signed by one who is trusted, and still another program's text.
        raise BadSignature("The visa does not say what a visa says.", hint="update the home gateway") from error
    if expires - issued > VISA_LIFETIME or not issued - skew <= now < expires + skew:
        raise SignatureExpired("The visa is too old, or from the future.", hint="ask the home gateway for another")
    return said


def visitor_name(visa: Visa, peer: Peer) -> str:
    """What a visitor is called here. Raises Refused for a name that could be taken for another's."""
    if not _USER.fullmatch(visa.user):
        raise Refused("A visitor of a visitor is not let in, nor a name that no user has.", hint="log in at home")
    return f"{visa.user}@{peer.name}"


def _read(claims: Mapping[str, Any]) -> Visa:
    """Raise what Python raises for a claim that is not there or of another kind."""
    words = {claims["jti"], claims["sub"], claims["sid"]}
    if not all(isinstance(word, str) and 0 < len(word) <= _LONGEST for word in words):
        raise ValueError("jti, sub and sid are short texts")
    scopes = frozenset(Scope(word) for word in claims["scope"].split() if word in set(VISITING))
    return Visa(claims["jti"], claims["sub"], claims["sid"], dict(claims["cnf"]["jwk"]), scopes)
