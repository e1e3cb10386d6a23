"""Sealing: secrets at rest, encrypted under a key that is kept outside the database.

Invariant: what is sealed for one purpose opens for no other; a sealed text that was altered does not open at all.
AES-256-GCM (NIST SP 800-38D), a fresh 96-bit nonce each time, the purpose as associated data. A sealed text names its
key and its purpose, so that it can be sealed anew under another key by who knows neither table nor owner.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import SetupError

KEY_BYTES: Final = 32
MARK: Final = "sealed-1:"
"""How every sealed text begins; the rest is KEY-ID:PURPOSE:NONCE-AND-CIPHERTEXT, the last two in base64url."""
_NONCE_BYTES: Final = 12
_PARTS: Final = 3

Keys = Callable[[], tuple[bytes, ...]]
"""The keys as they are now: the first seals, all of them open."""


class Sealer:
    """Seals with one key of 32 bytes; opens with that one and with ``older`` ones."""

    def __init__(self, key: bytes, *older: bytes) -> None:
        """Raise SetupError for a key of another length."""
        fixed = checked((key, *older))
        self._keys: Keys = lambda: fixed

    @classmethod
    def of(cls, keys: Keys) -> Sealer:
        """One that asks for its keys each time, so that it takes a rotation up. Raises what ``keys`` raises."""
        sealer = cls(*keys())
        sealer._keys = keys
        return sealer

    def __repr__(self) -> str:
        """Without the key."""
        return f"Sealer({key_id(self.key)})"

    @property
    def key(self) -> bytes:
        """The one that seals."""
        return self._keys()[0]

    def seal(self, secret: bytes, purpose: str) -> str:
        """``secret`` as a text that only this key opens, for this purpose."""
        key, nonce = self.key, os.urandom(_NONCE_BYTES)
        sealed = AESGCM(key).encrypt(nonce, secret, purpose.encode())
        return f"{MARK}{key_id(key)}:{_text(purpose.encode())}:{_text(nonce + sealed)}"

    def open(self, sealed: str, purpose: str) -> bytes:
        """What was sealed for ``purpose``. Raises SetupError: with another key, or altered, or for something else."""
        name, said, text = _split(sealed, purpose)
        key = next((key for key in self._keys() if key_id(key) == name), None)
        if key is None:
            raise SetupError(
                f"The {purpose} was sealed with another key ({name}).",
                hint="restore the sealing key that it was sealed with; docs/security.md says where it is looked for",
            )
        try:
            raw = base64.urlsafe_b64decode(text)
            secret = AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.encode())
        except (ValueError, binascii.Error, InvalidTag) as error:
            raise _shut(purpose) from error
        if _text(raw) != text or _text(purpose.encode()) != said:  # Python reads over what is not base64
            raise _shut(purpose)
        return secret

    def reseal(self, sealed: str) -> str:
        """The same under the key that seals now; as it is if that is so already. Raises SetupError."""
        name, said, _ = _split(sealed, "sealed text")
        if name == key_id(self.key):
            return sealed
        purpose = base64.urlsafe_b64decode(said).decode()
        return self.seal(self.open(sealed, purpose), purpose)


def make_sealing_key() -> bytes:
    """A new key."""
    return secrets.token_bytes(KEY_BYTES)


def key_id(key: bytes) -> str:
    """A name that tells keys apart and nothing about them: 8 hex digits."""
    return hashlib.sha256(b"burst sealing key\0" + key).hexdigest()[:8]


def checked(keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The same keys. Raises SetupError for none, and for one of another length."""
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise SetupError("The sealing key has not 32 bytes.", hint="restore it from a backup; nothing opens without")
    return keys


def _split(sealed: str, purpose: str) -> tuple[str, str, str]:
    parts = sealed.removeprefix(MARK).split(":")
    if not sealed.startswith(MARK) or len(parts) != _PARTS:
        raise _shut(purpose)
    return parts[0], parts[1], parts[2]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


def _shut(purpose: str) -> SetupError:
    hint = "it was altered, or belongs elsewhere: restore it from a backup"
    return SetupError(f"The {purpose} cannot be opened.", hint=hint)
