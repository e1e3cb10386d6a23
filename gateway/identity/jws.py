"""Compact JWS (RFC 7515), made and opened in one place.

Invariant: the algorithm is the key's, never the token's own word; a token has exactly one spelling; its ``typ`` keeps
what was signed for one purpose from being used for another.
"""

from __future__ import annotations

import binascii
import hmac
import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.registry import HeaderParameter

from gateway.errors import BadSignature
from gateway.identity.keys import Key, algorithm

MAX_TOKEN_CHARS: Final = 8192
_PARTS = 3
_SIGNATURE_BYTES: Final = 64
"""RFC 8032 section 5.1.6."""
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_OURS: Final = frozenset({"alg", "kid", "typ", "iat"})
"""Header parameters that mean nothing more than they say; crit and others are the general library's to judge."""

Curve = Callable[[Ed25519PublicKey, bytes, bytes], None]
"""Verifies a signature of some bytes with a key, or raises InvalidSignature."""


def sign(payload: bytes, key: Key, *, kid: str, typ: str, iat: int | None = None) -> str:
    """Sign ``payload``; the protected header holds alg, kid, typ and, where given, iat (RFC 7519 section 5.3)."""
    header: dict[str, Any] = {"alg": algorithm(key), "kid": kid, "typ": typ}
    if iat is not None:
        header["iat"] = iat
    private = key.private_key if isinstance(key, OKPKey) else None
    if isinstance(private, Ed25519PrivateKey):
        signed = f"{_encode(json.dumps(header, separators=(',', ':')).encode())}.{_encode(payload)}"
        return f"{signed}.{_encode(private.sign(signed.encode()))}"
    return jws.serialize_compact(header, payload, key, registry=_registry(algorithm(key)))


def openssl(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> None:
    """Raise InvalidSignature unless it is ``key``'s signature of ``signed`` (RFC 8032)."""
    key.verify(signature, signed)


def libsodium(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> None:
    """As ``openssl``, in half of its time once it is loaded, which takes ten milliseconds: for who verifies many."""
    open_signed, refusal = _sodium()
    # It wants both in one piece, so only a signature of the one length leaves no doubt where it ends.
    if len(signature) != _SIGNATURE_BYTES:
        raise InvalidSignature
    try:
        open_signed(signature + signed, key.public_bytes_raw())
    except refusal as error:
        raise InvalidSignature from error


def verify(token: str, key: Key, *, typ: str, curve: Curve = openssl) -> bytes:
    """The payload of a token that ``key`` signed as ``typ``; ``curve`` verifies Ed25519. Raises BadSignature.

    Checked in this order: shape and spelling, algorithm, type, signature.
    """
    header, payload, signature = _parts(token)
    if not _same(str(header.get("alg")), algorithm(key)):
        raise BadSignature("The token's algorithm is not its key's.", hint=f"sign with {algorithm(key)}")
    if not _same(str(header.get("typ")), typ):
        raise BadSignature("The token was signed for another purpose.", hint=f"its typ must be {typ}")
    try:
        public = key.public_key if isinstance(key, OKPKey) else None
        if not isinstance(public, Ed25519PublicKey) or not header.keys() <= _OURS:
            return jws.deserialize_compact(token, key, registry=_registry(algorithm(key))).payload
        # Every request has one of these, so the general library is spared: it takes as long as the curve itself.
        curve(public, signature, token.rpartition(".")[0].encode())
    except (JoseError, InvalidSignature, ValueError) as error:
        raise BadSignature(hint="sign the exact bytes that are sent; if the key is lost, burst login") from error
    return payload


def header_of(token: str) -> dict[str, Any]:
    """The protected header, read before anything is verified: good for finding the key and for nothing else.

    Raises BadSignature for what is no compact JWS in its one canonical spelling.
    """
    return dict(_parts(token)[0])


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT claims, read before anything is verified: good for finding whose key it needs and for nothing else.

    Raises BadSignature for what is no JWT in its one canonical spelling.
    """
    return _json(_parts(token)[1])


def kid_of(token: str) -> str:
    """Which key the token says that it was signed with. Raises BadSignature."""
    kid = header_of(token).get("kid")
    if not isinstance(kid, str) or not kid:
        raise BadSignature("The token does not name its key.", hint="put the session's id into the header as kid")
    return kid


@cache
def _sodium() -> tuple[Callable[[bytes, bytes], bytes], type[Exception]]:
    from nacl.bindings import crypto_sign_open  # noqa: PLC0415 - commands need not pay
    from nacl.exceptions import BadSignatureError  # noqa: PLC0415

    return crypto_sign_open, BadSignatureError


@cache
def _registry(alg: str) -> jws.JWSRegistry:
    return jws.JWSRegistry({"iat": HeaderParameter("Issued At", "int")}, algorithms=[alg])


@lru_cache(maxsize=64)
def _parts(token: str) -> tuple[Mapping[str, Any], bytes, bytes]:
    """Header, payload and signature; kept for a moment, since the key is looked for between two looks at a token."""
    parts = token.split(".")
    if len(token) > MAX_TOKEN_CHARS or len(parts) != _PARTS:
        raise _malformed()
    header, payload, signature = map(_decode, parts)
    return _json(header), payload, signature


def _decode(part: str) -> bytes:
    # RFC 7515 appendix C: no padding. The unused low bits of the last character must be zero, or one signature would
    # have several spellings and a stored digest of the token would not be unique.
    try:
        raw = binascii.a2b_base64(part.encode("ascii").translate(_FROM_URL) + b"=" * (-len(part) % 4))
    except ValueError as error:
        raise _malformed() from error
    # It is lenient, with characters that are none too; what it understood must be spelled as it came.
    if _encode(raw) != part:
        raise _malformed()
    return raw


def _encode(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).translate(_TO_URL, b"=").decode()


def _json(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise _malformed() from error
    if not isinstance(value, dict):
        raise _malformed()
    return value


def _malformed() -> BadSignature:
    return BadSignature("The token is not a compact JWS.", hint="send three base64url parts joined by dots")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
