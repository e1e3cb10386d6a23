"""KeyRing: the gateway's own signing keys, in one sealed file that only its user can read.

Invariant: one key signs at a time and for a limited time; of a key that has retired only the public half is kept: it
verifies what it signed in its time, and nobody can sign with it again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from gateway.errors import BadSignature, SetupError
from gateway.identity import jws
from gateway.identity.keys import Algorithm, KeyPair, algorithm, make_pair, public_jwk, read_published, thumbprint
from gateway.identity.sealed_file import SealedFile, changing
from gateway.identity.sealing import Sealer
from gateway.identity.succession import announce

SIGNS_FOR: Final = timedelta(days=90)
_LATE: Final = timedelta(minutes=1)
"""A clock may be set back, and a rotation takes a moment to reach every thread that signs."""
_EARLY: Final = timedelta(hours=1)
"""A login is certified as of its approval, which may be a while before the client fetches the certificate."""


@dataclass(frozen=True)
class SigningKey:
    """One of the gateway's keys; it signs from ``created`` until ``not_after`` and verifies that for ever."""

    kid: str
    key: KeyPair
    created: datetime
    not_after: datetime
    succession: str | None = None
    """What the key before it said of it; the first key has none."""

    @property
    def retired(self) -> bool:
        """Whether only its public half is left."""
        return not self.key.is_private

    def retire(self, now: datetime) -> SigningKey:
        """The same without its private half; from ``now`` on it signs nothing."""
        public = read_published(public_jwk(self.key))
        return replace(self, key=public, not_after=min(self.not_after, now))


class KeyRing:
    """The keys of one file, which sign with one algorithm; safe to share between threads and processes.

    A ring that another process changed is read again by the next who signs or verifies.
    """

    def __init__(self, file: SealedFile, kind: Algorithm = "Ed25519", keeps_for: timedelta | None = None) -> None:
        self._file = file
        self._kind = kind
        self._keeps_for = keeps_for
        self._lock = threading.RLock()
        self._stamp = (0, 0, 0)
        self._loaded: tuple[SigningKey, ...] = ()

    @classmethod
    def open(
        cls,
        path: Path,
        now: datetime,
        kind: Algorithm = "Ed25519",
        *,
        sealer: Sealer | None = None,
        keeps_for: timedelta | None = None,
    ) -> KeyRing:
        """Read the file, or make it with a first key; two processes that make it at once end with the same key.

        ``keeps_for``: how long a retired key is still published, None for ever. Raises SetupError when others can
        read the file, when it cannot be opened with the sealer, or when it is no key ring.
        """
        file = SealedFile(path, sealer)
        file.keep(lambda: _document((_new_key(now, kind),)))
        ring = cls(file, kind, keeps_for)
        ring._keys()  # what is wrong with the file is said now
        return ring

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return self._keys()[-1]

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """All of them, oldest first."""
        return self._keys()

    def rotate(self, now: datetime) -> SigningKey:
        """Sign with a new key from now on."""
        with self._lock, changing(self._file.path.parent):
            return self._rotate(now)

    def sign(self, payload: bytes, typ: str, now: datetime) -> str:
        """A compact JWS over ``payload``, dated ``now``; the signing key is replaced first if its time is over."""
        key = self.current
        if now >= key.not_after:
            key = self._successor(now)
        return jws.sign(payload, key.key, kid=key.kid, typ=typ, iat=int(now.timestamp()))

    def verify(self, token: str, typ: str) -> bytes:
        """The payload of a token that a key of the ring signed as ``typ`` in its time. Raises BadSignature."""
        kid = jws.kid_of(token)
        for key in self._keys():
            if key.kid == kid:
                payload = jws.verify(token, key.key, typ=typ)
                _check_date(token, payload, key.created, key.not_after)
                return payload
        raise _unknown()

    def jwks(self, now: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
        """The public halves, newest first, as a JWK Set (RFC 7517 section 5); at ``now`` only those that still count.

        A retired key has ``nbf`` and ``exp``, the seconds since 1970 between which it signed.
        """
        return {"keys": [_published(key) for key in reversed(self._keys()) if now is None or self._counts(key, now)]}

    @property
    def successions(self) -> list[str]:
        """What each key said of the one after it, newest first."""
        return [each.succession for each in reversed(self._keys()) if each.succession is not None]

    def _keys(self) -> tuple[SigningKey, ...]:
        try:
            stamp = self._file.stamp()
        except OSError:
            stamp = (0, 0, 0)  # reading it says what is wrong
        with self._lock:
            if stamp != self._stamp or not self._loaded:
                self._loaded = _load(self._file)
                self._stamp = stamp
            return self._loaded

    def _successor(self, now: datetime) -> SigningKey:
        with self._lock, changing(self._file.path.parent):
            key = self.current  # somebody else may have been first
            return key if now < key.not_after else self._rotate(now)

    def _rotate(self, now: datetime) -> SigningKey:
        new = _new_key(now, self._kind)
        new = replace(new, succession=announce(self.current.key, new.key, now))
        kept = tuple(key.retire(now) for key in self._keys() if self._counts(key, now))
        keys = (*kept, new)
        self._file.write(_document(keys))
        return keys[-1]

    def _counts(self, key: SigningKey, now: datetime) -> bool:
        return not key.retired or self._keeps_for is None or now < key.not_after + self._keeps_for


def verify_with(jwks: Mapping[str, Any], token: str, typ: str) -> bytes:
    """The payload of a token that a key of a published JWK Set signed as ``typ``, in its time if the set tells it.

    Raises BadSignature.
    """
    kid = jws.kid_of(token)
    for jwk in jwks["keys"]:
        if jwk["kid"] == kid:
            payload = jws.verify(token, read_published(jwk), typ=typ)
            if "exp" in jwk:
                created, ended = (datetime.fromtimestamp(jwk[name], UTC) for name in ("nbf", "exp"))
                _check_date(token, payload, created, ended)
            return payload
    raise _unknown()


def _check_date(token: str, payload: bytes, created: datetime, ended: datetime) -> None:
    """The token is dated in the time in which its key signed: who steals an old key later gains nothing by it."""
    for said in _dates(token, payload):
        if not created.timestamp() - _EARLY.total_seconds() <= said <= ended.timestamp() + _LATE.total_seconds():
            raise BadSignature(
                "The token is dated outside the time in which its key signed.", hint="it may be forged: tell the admin"
            )


def _dates(token: str, payload: bytes) -> list[float]:
    """When the token says that it was signed: in its header, where the ring puts it, and in its claims."""
    try:
        claims = json.loads(payload)
    except ValueError:
        claims = None
    documents = (jws.header_of(token), claims if isinstance(claims, dict) else {})
    dates = [document["iat"] for document in documents if "iat" in document]
    if not dates or any(isinstance(date, bool) or not isinstance(date, int | float) for date in dates):
        raise BadSignature("The token does not say when it was signed.", hint="it was not signed by this gateway")
    return dates


def _unknown() -> BadSignature:
    return BadSignature("The gateway has no such key.", hint="this token was not signed by this gateway")


def _published(key: SigningKey) -> dict[str, Any]:
    facts: dict[str, Any] = {"kid": key.kid, "use": "sig", "alg": algorithm(key.key)}
    if key.retired:
        facts |= {"nbf": int(key.created.timestamp()), "exp": int(key.not_after.timestamp())}
    return {**public_jwk(key.key), **facts}


def _new_key(now: datetime, kind: Algorithm) -> SigningKey:
    key = make_pair(kind)
    return SigningKey(thumbprint(key), key, now, now + SIGNS_FOR)


def _load(file: SealedFile) -> tuple[SigningKey, ...]:
    text = file.read()
    hint = "restore it from a backup; its signatures need it"
    try:
        keys = tuple(_read_key(entry) for entry in json.loads(text)["keys"])
    except (ValueError, KeyError, TypeError, JoseError) as error:
        raise SetupError(f"{file.path} is not a key ring.", hint=hint) from error
    if not keys or keys[-1].retired:
        raise SetupError(f"{file.path} holds no key that signs.", hint=hint)
    return keys


def _read_key(entry: Mapping[str, Any]) -> SigningKey:
    key = (ECKey if entry["jwk"]["kty"] == "EC" else OKPKey).import_key(entry["jwk"])
    times = (datetime.fromisoformat(entry["created"]), datetime.fromisoformat(entry["not_after"]))
    return SigningKey(thumbprint(key), key, *times, succession=entry.get("succession"))


def _document(keys: Iterable[SigningKey]) -> bytes:
    entries = [
        {
            "jwk": public_jwk(key.key) if key.retired else key.key.as_dict(private=True),
            "created": key.created.isoformat(),
            "not_after": key.not_after.isoformat(),
            "succession": key.succession,
        }
        for key in keys
    ]
    return json.dumps({"keys": entries}).encode()
