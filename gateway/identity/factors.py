"""Factors: what a login needs beside the password, decided in one place for every way to log in.

Invariant: a code is good once, whoever uses it first; what is wrong with a second factor is told in the words of a
wrong password. That a code is needed is told only to who has given the right password, and so knows the user already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from gateway.errors import BadSignature, CodeNeeded
from gateway.identity import jws, totp
from gateway.identity.device_keys import DeviceKeyStore, check_proof
from gateway.identity.sealing import Sealer
from gateway.identity.sessions import wrong_login

NEVER: Final = -1
"""The last step of a secret whose codes were never used."""


@dataclass(frozen=True)
class Totp:
    """A user's secret, sealed; it counts from its confirmation by a first code. Times in UTC."""

    user: str
    sealed: str
    last_step: int
    """The latest step whose code was taken; that one and those before it are used."""
    enrolled_at: datetime
    confirmed_at: datetime | None = None

    @classmethod
    def of(cls, user: str, secret: bytes, sealer: Sealer, now: datetime) -> Totp:
        """A new one, which is yet to be confirmed."""
        return cls(user, sealer.seal(secret, _purpose(user)), NEVER, now)

    def secret(self, sealer: Sealer) -> bytes:
        """The secret. Raises SetupError."""
        return sealer.open(self.sealed, _purpose(self.user))


@dataclass(frozen=True)
class Proof:
    """What comes with a password: a code, or a remembered device's word about ``session_key``, or nothing."""

    code: str | None = field(default=None, repr=False)
    device: str | None = field(default=None, repr=False)
    session_key: Mapping[str, object] = field(default_factory=dict)

    @property
    def given(self) -> bool:
        """Whether there is anything to be judged."""
        return bool(self.code or self.device)


class FactorStore(Protocol):
    """The stored second factors, inside one transaction of the database."""

    def totp(self, user: str) -> Totp | None:
        """A user's secret, confirmed or not."""

    def put_totp(self, factor: Totp) -> None:
        """Keep a secret in place of the one before."""

    def confirm(self, user: str, now: datetime) -> None:
        """From now on logins need its codes."""

    def use_step(self, user: str, step: int) -> bool:
        """Use up a step and all before it; False when it was used."""

    def remove(self, user: str) -> None:
        """Forget a user's secret and recovery codes."""

    def put_codes(self, user: str, hashes: Iterable[str], now: datetime) -> None:
        """Keep recovery codes in place of those before."""

    def use_code(self, user: str, code_hash: str, now: datetime) -> bool:
        """Use up a recovery code; False when there is none such, or it was used."""

    def codes_left(self, user: str) -> int:
        """How many recovery codes a user has yet to use."""


@dataclass(frozen=True)
class Judge:
    """Decides about second factors; ``audience`` is the gateway's name in a device's word."""

    sealer: Sealer
    audience: str

    def check(self, factors: FactorStore, devices: DeviceKeyStore, user: str, proof: Proof, now: datetime) -> None:
        """Use up what ``proof`` gives, once the password has held. Raises CodeNeeded, or NotAllowed as a password does.

        Further kinds of second factor are further branches here.
        """
        factor = confirmed(factors, user)
        if factor is None:
            return
        if proof.code:
            self._check_code(factors, factor, proof.code, now)
        elif not self._remembered(devices, user, proof, now):
            raise CodeNeeded(hint="give the six digits that your authenticator app shows now")

    def _check_code(self, factors: FactorStore, factor: Totp, code: str, now: datetime) -> None:
        step = totp.matching_step(factor.secret(self.sealer), code, now)
        if step is None or not factors.use_step(factor.user, step):
            raise wrong_login()

    def _remembered(self, devices: DeviceKeyStore, user: str, proof: Proof, now: datetime) -> bool:
        """Whether a device's word stands in for a code; one that does not is as good as none."""
        if proof.device is None:
            return False
        try:
            device = devices.find(user, jws.kid_of(proof.device))
            if device is None:
                return False
            check_proof(proof.device, device, proof.session_key, self.audience, now)
        except BadSignature:
            return False
        devices.used(device.id, now)
        return True


def confirmed(factors: FactorStore, user: str) -> Totp | None:
    """A user's secret if its codes are needed."""
    found = factors.totp(user)
    return found if found is not None and found.confirmed_at is not None else None


def _purpose(user: str) -> str:
    return f"totp of {user}"
