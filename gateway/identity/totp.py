"""TOTP: six digits that change every half minute, of a secret that an authenticator app shares with us (RFC 6238).

Invariant: a code is good for its own step and for one on either side; every step that may be meant is compared, always.
"""

from __future__ import annotations

import hmac
import os
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_S: Final = 30
DIGITS: Final = 6
WINDOW: Final = 1
"""Steps that a phone's clock may be early or late (RFC 6238 section 5.2)."""
SECRET_BYTES: Final = 20
"""As long as what SHA-1 gives (RFC 4226 section 4, R6)."""


def make_secret() -> bytes:
    """A new random secret, 160 bit."""
    return os.urandom(SECRET_BYTES)


def provisioning_uri(secret: bytes, user: str, issuer: str) -> str:
    """What an authenticator app reads from a QR code: ``otpauth://totp/...`` with the secret in it."""
    return _totp(secret).get_provisioning_uri(user, issuer)


def code_at(secret: bytes, step: int) -> str:
    """The code of one step, counted in half minutes since 1970."""
    return _totp(secret).generate(step * STEP_S).decode()


def step_of(now: datetime) -> int:
    """The step that it is at ``now``."""
    return int(now.timestamp()) // STEP_S


def matching_step(secret: bytes, code: str, now: datetime) -> int | None:
    """The step whose code it is, the latest if it is several's; None: of none that may be meant at ``now``."""
    given, here = _typed(code), step_of(now)
    steps = range(here - WINDOW, here + WINDOW + 1)
    fits = [hmac.compare_digest(code_at(secret, step).encode(), given) for step in steps]
    return max((step for step, fit in zip(steps, fits, strict=True) if fit), default=None)


def _typed(code: str) -> bytes:
    """A code as people type it: "123 456" is "123456"."""
    return "".join(code.split()).encode()


def _totp(secret: bytes) -> TOTP:
    # SHA-1 is what every authenticator app computes; HMAC does not rest on its collisions (RFC 6238 section 1.2).
    return TOTP(secret, DIGITS, SHA1(), STEP_S)  # noqa: S303
