"""Keys as JSON Web Keys: Ed25519 for people, nodes and the gateway, P-256 for what others verify.

Invariant: a key of the wrong kind is refused where it enters, so the algorithm of a signature follows from its key.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey

from gateway.errors import InvalidRequest

SECRET_BYTES: Final = 32

KeyPair = OKPKey | ECKey
Key = KeyPair | OctKey
Algorithm = Literal["Ed25519", "ES256"]
"""What a key pair signs with: Ed25519 among ourselves, ES256 where others verify, as clouds and SciTokens do."""


def make_key() -> OKPKey:
    """A new Ed25519 key pair."""
    return OKPKey.generate_key("Ed25519", private=True)


def make_pair(kind: Algorithm) -> KeyPair:
    """A new key pair that signs with ``kind``."""
    return make_key() if kind == "Ed25519" else ECKey.generate_key("P-256", private=True)


def public_jwk(key: KeyPair) -> dict[str, str]:
    """The public half as a JWK (RFC 8037, RFC 7518 section 6.2): kty, crv, x, for P-256 y, and nothing else."""
    members = key.as_dict(private=False)
    return {name: str(members[name]) for name in ("kty", "crv", "x", "y") if name in members}


def read_public(jwk: Mapping[str, object]) -> OKPKey:
    """A public key from its JWK. Raises InvalidRequest for any other kind of key, and for a private one."""
    hint = "send kty OKP, crv Ed25519 and x"
    if "d" in jwk:
        raise InvalidRequest("This is a private key; it must stay where it was made.", hint=hint, field="public_key")
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise InvalidRequest("The public key is not an Ed25519 key.", hint=hint, field="public_key")
    try:
        return _point(str(jwk.get("x", "")))
    except (JoseError, ValueError) as error:
        raise InvalidRequest("The public key cannot be read.", hint=hint, field="public_key") from error


@lru_cache(maxsize=256)
def _point(x: str) -> OKPKey:
    """Kept for the next request of the same session; a key object is never changed."""
    key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
    key.raw_value  # noqa: B018 - the point is decoded only now
    return key


def read_published(jwk: Mapping[str, object]) -> KeyPair:
    """A key of a published JWK Set: as ``read_public``, or P-256. Raises InvalidRequest."""
    if (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256"):
        return read_public(jwk)
    try:
        return ECKey.import_key({"kty": "EC", "crv": "P-256", "x": str(jwk.get("x")), "y": str(jwk.get("y"))})
    except (JoseError, ValueError) as error:
        raise InvalidRequest("The public key cannot be read.", hint="send crv P-256 with x and y") from error


def thumbprint(key: KeyPair) -> str:
    """SHA-256 thumbprint of the public half, base64url (RFC 7638)."""
    return key.thumbprint()


def read_secret(secret: str) -> OctKey:
    """The HMAC key that a base64url text of 32 bytes or more stands for. Raises InvalidRequest for a shorter one."""
    raw = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    if len(raw) < SECRET_BYTES:
        raise InvalidRequest("The secret is too short.", hint=f"it must have {SECRET_BYTES} bytes")
    return OctKey.import_key(raw)


def algorithm(key: Key) -> str:
    """The only JWS algorithm that ``key`` signs with: Ed25519 (RFC 9864), ES256 or HS256 (RFC 7518)."""
    if isinstance(key, OctKey):
        return "HS256"
    return "ES256" if isinstance(key, ECKey) else "Ed25519"
