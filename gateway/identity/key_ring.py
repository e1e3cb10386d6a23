"""KeyRing: the gateway's own signing keys, in one file that only its user can read.

Invariant: one key signs at a time and for a limited time; a key that has retired still verifies what it signed.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from gateway.errors import BadSignature, SetupError
from gateway.identity import jws
from gateway.identity.keys import Algorithm, KeyPair, algorithm, make_pair, public_jwk, read_published, thumbprint
from gateway.identity.succession import announce

SIGNS_FOR: Final = timedelta(days=90)
_OTHERS = 0o077


@dataclass(frozen=True)
class SigningKey:
    """One of the gateway's keys; it signs until ``not_after`` and verifies for ever."""

    kid: str
    key: KeyPair
    created: datetime
    not_after: datetime
    succession: str | None = None
    """What the key before it said of it; the first key has none."""


class KeyRing:
    """The keys of one file, which sign with one algorithm; safe to share between threads."""

    def __init__(self, path: Path, keys: Iterable[SigningKey], kind: Algorithm = "Ed25519") -> None:
        self._path = path
        self._kind = kind
        self._keys = tuple(keys)
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, now: datetime, kind: Algorithm = "Ed25519") -> KeyRing:
        """Read the file, or make it with a first key; two processes that make it at once end with the same key.

        Raises SetupError when others can read the file or when it is no key ring.
        """
        if not path.exists():
            _create(path, (_new_key(now, kind),))
        if path.stat().st_mode & _OTHERS:
            raise SetupError(f"Others can read the signing keys in {path}.", hint=f"chmod 600 {path}")
        return cls(path, _load(path), kind)

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return self._keys[-1]

    def rotate(self, now: datetime) -> SigningKey:
        """Sign with a new key from now on."""
        with self._lock:
            return self._rotate(now)

    def sign(self, payload: bytes, typ: str, now: datetime) -> str:
        """A compact JWS over ``payload``; the signing key is replaced first if its time is over."""
        with self._lock:
            key = self.current if now < self.current.not_after else self._rotate(now)
        return jws.sign(payload, key.key, kid=key.kid, typ=typ)

    def verify(self, token: str, typ: str) -> bytes:
        """The payload of a token that any key of the ring signed as ``typ``. Raises BadSignature."""
        return verify_with(self.jwks(), token, typ)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public halves, newest first, as a JWK Set (RFC 7517 section 5)."""
        return {
            "keys": [
                {**public_jwk(each.key), "kid": each.kid, "use": "sig", "alg": algorithm(each.key)}
                for each in reversed(self._keys)
            ]
        }

    @property
    def successions(self) -> list[str]:
        """What each key said of the one after it, newest first."""
        return [each.succession for each in reversed(self._keys) if each.succession is not None]

    def _rotate(self, now: datetime) -> SigningKey:
        new = _new_key(now, self._kind)
        keys = (*self._keys, replace(new, succession=announce(self.current.key, new.key, now)))
        _write(self._path, keys).replace(self._path)
        self._keys = keys
        return keys[-1]


def verify_with(jwks: Mapping[str, Any], token: str, typ: str) -> bytes:
    """The payload of a token that a key of a published JWK Set signed as ``typ``. Raises BadSignature."""
    kid = jws.kid_of(token)
    for jwk in jwks["keys"]:
        if jwk["kid"] == kid:
            return jws.verify(token, read_published(jwk), typ=typ)
    raise BadSignature("The gateway has no such key.", hint="this token was not signed by this gateway")


def _new_key(now: datetime, kind: Algorithm) -> SigningKey:
    key = make_pair(kind)
    return SigningKey(thumbprint(key), key, now, now + SIGNS_FOR)


def _load(path: Path) -> tuple[SigningKey, ...]:
    try:
        keys = tuple(_read_key(entry) for entry in json.loads(path.read_text())["keys"])
    except (ValueError, KeyError, TypeError, JoseError) as error:
        raise SetupError(
            f"{path} is not a key ring.", hint="restore it from a backup; its signatures need it"
        ) from error
    if not keys:
        raise SetupError(f"{path} holds no key.", hint="restore it from a backup; its signatures need it")
    return keys


def _read_key(entry: Mapping[str, Any]) -> SigningKey:
    key = (ECKey if entry["jwk"]["kty"] == "EC" else OKPKey).import_key(entry["jwk"])
    times = (datetime.fromisoformat(entry["created"]), datetime.fromisoformat(entry["not_after"]))
    return SigningKey(thumbprint(key), key, *times, succession=entry.get("succession"))


def _create(path: Path, keys: tuple[SigningKey, ...]) -> None:
    temporary = _write(path, keys)
    try:
        os.link(temporary, path)  # unlike a rename, it fails when another process was first
    except FileExistsError:
        return
    finally:
        temporary.unlink()


def _write(path: Path, keys: Iterable[SigningKey]) -> Path:
    document = {
        "keys": [
            {
                "jwk": key.key.as_dict(private=True),
                "created": key.created.isoformat(),
                "not_after": key.not_after.isoformat(),
                "succession": key.succession,
            }
            for key in keys
        ]
    }
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    return temporary
