"""Passwords, kept as Argon2id hashes.

Invariant: a password is never kept, logged or put into an error; a wrong name takes as long as a wrong password.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.errors import InvalidRequest

MIN_LENGTH: Final = 10
NO_PASSWORD: Final = ""
"""What is kept of who has none: a program, or a visitor from another gateway; no password is right."""

# The library's defaults are RFC 9106's second recommended option: 64 MiB, three passes.
_HASHER = PasswordHasher()


def make_password() -> str:
    """A new random password, 128 bit, to be shown once."""
    return secrets.token_urlsafe(16)


def hash_password(password: str) -> str:
    """What is kept of a password. Raises InvalidRequest for one that is too short."""
    if len(password) < MIN_LENGTH:
        raise InvalidRequest(
            "The password is too short.", hint=f"use {MIN_LENGTH} characters or more", field="password"
        )
    return _HASHER.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether it is the password; with no hash it takes the same time and is not."""
    try:
        return _HASHER.verify(password_hash or _nobodys_hash(), password) and bool(password_hash)
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _HASHER.hash(secrets.token_urlsafe(16))
