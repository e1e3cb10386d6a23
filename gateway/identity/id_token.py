"""ID token: an institution's signed word on who signed in (OpenID Connect Core section 3.1.3.7).

Invariant: it counts only from the one issuer that was asked, for this gateway as its audience, in answer to this
sign-in (nonce), with an algorithm of public keys, and before it expires. What is merely well signed counts for nothing.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from gateway.errors import BadSignature, Refused
from gateway.identity.institutions import Institution, Person
from gateway.identity.jws import header_of

_KEY_TYPE: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    **dict.fromkeys(("EdDSA", "Ed25519"), "OKP"),
}
ALGORITHMS: Final = tuple(_KEY_TYPE)
"""Never "none", and never HMAC: a client's secret is no signing key."""
SKEW: Final = timedelta(seconds=60)
_LEAST_RSA_BITS: Final = 2048
_LONGEST_SUBJECT: Final = 255
_HINT = "begin the sign-in again; if it stays so, tell the gateway's operator"

PublicKey = RSAKey | ECKey | OKPKey


class UnknownKey(BadSignature):
    """The token names a key that is not among those at hand; the institution may have a new one."""


def read_id_token(token: str, institution: Institution, jwks: Mapping[str, Any], nonce: str, now: datetime) -> Person:
    """Who the token is about. Raises Refused, or UnknownKey for one whose key is not in ``jwks``."""
    claims = _claims(token, jwks, institution.title)
    _check(claims, institution, nonce, now)
    proved = claims.get("auth_time")
    return Person(
        issuer=institution.issuer,
        subject=claims["sub"],
        name=_text(claims.get(institution.user_claim)),
        email=_text(claims.get("email")),
        email_verified=claims.get("email_verified") is True,
        proved_at=min(_when(proved), now) if _is_time(proved) else None,
    )


def _claims(token: str, jwks: Mapping[str, Any], title: str) -> dict[str, Any]:
    try:
        header = header_of(token)
        alg = header.get("alg")
        if alg not in ALGORITHMS:
            raise Refused(f"The ID token of {title} has no signature of a kind that counts.", hint=_HINT)
        payload = jws.deserialize_compact(token, _key(jwks, header), algorithms=[alg]).payload
        claims = json.loads(payload)
    except UnknownKey:
        raise
    except (BadSignature, JoseError, ValueError, RecursionError) as error:
        raise _unsigned(title) from error
    if not isinstance(claims, dict):
        raise _unsigned(title)
    return claims


def _key(jwks: Mapping[str, Any], header: Mapping[str, Any]) -> PublicKey:
    """The one key that the header means: by its id, or the only one that there is for the algorithm."""
    kty, kid = _KEY_TYPE[header["alg"]], header.get("kid")
    members: Sequence[Any] = jwks.get("keys") or ()
    fitting = [
        each
        for each in members
        if isinstance(each, dict)
        and each.get("kty") == kty
        and each.get("use", "sig") == "sig"
        and (kid is None or each.get("kid") == kid)
    ]
    if len(fitting) != 1:
        raise UnknownKey("The ID token's key is not known.", hint=_HINT)
    key = KeySet.import_key_set({"keys": [fitting[0]]}).keys[0]
    if not isinstance(key, RSAKey | ECKey | OKPKey):
        raise UnknownKey("The ID token's key is not known.", hint=_HINT)
    if isinstance(key, RSAKey) and key.public_key.key_size < _LEAST_RSA_BITS:
        raise BadSignature("The ID token's key is too short.", hint=_HINT)
    return key


def _check(claims: Mapping[str, Any], institution: Institution, nonce: str, now: datetime) -> None:
    title, client = institution.title, institution.client_id
    if claims.get("iss") != institution.issuer:
        raise Refused(f"The ID token is not {title}'s: another issuer made it.", hint=_HINT)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if client not in audiences or claims.get("azp", client if len(audiences) == 1 else None) != client:
        raise Refused(f"The ID token of {title} is for somebody else, not for this gateway.", hint=_HINT)
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise Refused(f"The ID token of {title} is not an answer to this sign-in.", hint=_HINT)
    expires, issued = claims.get("exp"), claims.get("iat")
    if not _is_time(expires) or not _is_time(issued) or _when(expires) + SKEW <= now or _when(issued) - SKEW > now:
        raise Refused(f"The ID token of {title} has expired, or is not good yet.", hint=_HINT)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise Refused(f"The ID token of {title} names nobody.", hint=_HINT)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**33


def _when(value: Any) -> datetime:
    return datetime.fromtimestamp(value, UTC)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _unsigned(title: str) -> Refused:
    return Refused(f"The ID token is not signed by {title}.", hint=_HINT)
