"""Visits: another gateway that trusts yours, as the client sees it.

Invariant: the key with which somebody visits is made here and never sent; the home gateway certifies it for that one
gateway only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import httpx2
from joserfc.jwk import OKPKey
from pydantic import TypeAdapter, ValidationError

from gateway import wire
from gateway.client.profile import Profile
from gateway.client.session import Session, profile_of
from gateway.errors import BurstError, GatewayUnavailable
from gateway.identity.keys import make_key, public_jwk

T = TypeVar("T")

ABOUT: Final = "/.well-known/burst-gateway"
KEYS: Final = "/.well-known/jwks.json"


def look_up(name: str, url: str, projects: tuple[str, ...] = ()) -> wire.PeerRequest:
    """What the gateway at ``url`` says of itself; to be trusted once its fingerprints were compared.

    Raises GatewayUnavailable, BurstError when it is no gateway.
    """
    about, keys = _document(url, ABOUT, wire.About), _document(url, KEYS, dict[str, Any])
    ours = [key for key in keys.get("keys", ()) if key.get("kty") == "OKP"]
    return wire.PeerRequest(
        name=name, issuer=about.issuer, audience=about.audience, keys={"keys": ours}, projects=projects
    )


def visit(home: Session, peer: str) -> Session:
    """A login at a gateway that trusts ``home``'s, named as there or by its URL. Raises NotAllowed, NotFound."""
    key = make_key()
    visa = home.post("/visas", wire.VisaRequest(peer=peer, public_key=public_jwk(key)), wire.Visa)
    with Session(_asking(visa, key, home.profile), patience_s=home.patience_s) as guest:
        # A visa is good once: what may have arrived is not sent again.
        session = guest.post("/visits", wire.VisitRequest(visa=visa.visa), wire.Session, safe=False)
    return Session(profile_of(visa.url, key, session))


def _asking(visa: wire.Visa, key: OKPKey, home: Profile) -> Profile:
    """Who shows a visa; the home gateway has said what the other's answers are signed with."""
    members = key.as_dict(private=True)
    return Profile(
        url=visa.url,
        session=visa.kid,
        audience=visa.audience,
        user=home.user,
        expires_at=datetime.now(UTC),
        key={name: str(members[name]) for name in ("kty", "crv", "x", "d")},
        gateway_keys=[dict(each) for each in visa.keys],
    )


def _document(url: str, path: str, answer: type[T]) -> T:
    try:
        response = httpx2.get(url.rstrip("/") + path, timeout=20, follow_redirects=False)
        return TypeAdapter(answer).validate_json(response.raise_for_status().content)
    except httpx2.UnsupportedProtocol as error:
        raise BurstError(f"{url} is no URL", hint="give one such as https://burst.lab.example") from error
    except httpx2.TransportError as error:
        raise GatewayUnavailable(f"no answer from {url}: {error}", hint="check the URL") from error
    except (httpx2.HTTPStatusError, ValidationError) as error:
        raise BurstError(f"{url} is no gateway", hint="give the URL that its users log in at") from error
