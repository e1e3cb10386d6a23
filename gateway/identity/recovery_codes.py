"""Recovery codes: ten words for the day when the phone is lost, each good once.

Invariant: they are random (120 bit), shown when they are made and never again; only digests are kept. A fast hash is
enough for that: there is nothing shorter to guess than the code itself.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final

COUNT: Final = 10
_BYTES: Final = 15
_GROUP: Final = 6


def make_codes() -> tuple[str, ...]:
    """Ten new codes, such as ``ABCDEF-GHIJKL-MNOPQR-STUVWX``."""
    return tuple(_code() for _ in range(COUNT))


def code_hash(user: str, code: str) -> str:
    """What is kept of a user's code, however it was typed: SHA-256, hex, of both."""
    letters = "".join(letter for letter in code.upper() if letter.isalnum())
    return hashlib.sha256(f"burst recovery code\n{user}\n{letters}".encode()).hexdigest()


def _code() -> str:
    letters = base64.b32encode(secrets.token_bytes(_BYTES)).decode()
    return "-".join(letters[start : start + _GROUP] for start in range(0, len(letters), _GROUP))
