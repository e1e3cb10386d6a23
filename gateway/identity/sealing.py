"""Sealing: secrets at rest, encrypted under a key that is kept outside the database.

Invariant: what is sealed for one purpose opens for no other; a sealed text that was altered does not open at all.
AES-256-GCM (NIST SP 800-38D), a fresh 96-bit nonce each time, the purpose as associated data.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import SetupError

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MARK: Final = "sealed-1:"


@dataclass(frozen=True, repr=False)
class Sealer:
    """Seals and opens with one key of 32 bytes."""

    key: bytes

    def __post_init__(self) -> None:
        """Raise SetupError for a key of another length."""
        if len(self.key) != KEY_BYTES:
            raise SetupError(
                "The sealing key has not 32 bytes.", hint="restore it from a backup; nothing opens without"
            )

    def seal(self, secret: bytes, purpose: str) -> str:
        """``secret`` as a text that only this key opens, for this purpose."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self.key).encrypt(nonce, secret, purpose.encode())
        return _text(nonce + sealed)

    def open(self, sealed: str, purpose: str) -> bytes:
        """What was sealed for ``purpose``. Raises SetupError: with another key, or altered, or for something else."""
        try:
            raw = base64.urlsafe_b64decode(sealed.removeprefix(_MARK))
            secret = AESGCM(self.key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.encode())
        except (ValueError, binascii.Error, InvalidTag) as error:
            raise _shut(purpose) from error
        if _text(raw) != sealed:  # Python reads over what is not base64
            raise _shut(purpose)
        return secret


def make_sealing_key() -> bytes:
    """A new key."""
    return secrets.token_bytes(KEY_BYTES)


def _text(raw: bytes) -> str:
    return _MARK + base64.urlsafe_b64encode(raw).decode()


def _shut(purpose: str) -> SetupError:
    hint = "the sealing key is not the one that it was sealed with: restore the key"
    return SetupError(f"The {purpose} cannot be opened.", hint=hint)
