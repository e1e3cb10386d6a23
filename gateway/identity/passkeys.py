"""Passkey: a key in a person's own device that signs them in, after W3C Web Authentication Level 3.

Invariant: an answer counts once, for the challenge that this browser was given minutes ago, from our own page, after
the device made sure who uses it (user verification); only the public key is kept.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from gateway.errors import Refused

LIFETIME: Final = timedelta(minutes=5)
"""How long a challenge waits for its answer."""
AMR: Final = "pop mfa"
"""What a sign-in with one is by RFC 8176: a key was used, and the device asked for a PIN or a finger before."""
LONGEST_NAME: Final = 64
_HINT = "try again, or sign in with your password"
_TIMEOUT_MS = int(LIFETIME.total_seconds() * 1000)


class Purpose(StrEnum):
    """What a challenge is for; an answer to one is none to the other."""

    ADD = "add"
    SIGN_IN = "sign-in"


@dataclass(frozen=True)
class RelyingParty:
    """Whom passkeys are for: ``id`` is a domain, ``origin`` the only place where a page may use them."""

    id: str
    origin: str
    title: str

    @classmethod
    def of(cls, url: str, title: str) -> RelyingParty | None:
        """The one of a gateway's public URL; None where browsers offer no passkeys: an address, or plain http.

        This computer's own address stands for ``localhost``, which browsers take.
        """
        parts = urlsplit(url)
        host, scheme = parts.hostname or "", parts.scheme
        port = f":{parts.port}" if parts.port else ""
        try:
            if not ip_address(host).is_loopback:
                return None
            host = "localhost"
        except ValueError:
            pass
        if scheme != "https" and host != "localhost":
            return None
        return cls(host, f"{scheme}://{host}{port}", title)


@dataclass(frozen=True)
class Challenge:
    """Random bytes that one browser is to have signed, for one purpose."""

    cookie_hash: str
    purpose: Purpose
    challenge: bytes
    expires_at: datetime
    handle: str | None = None
    """Of a passkey that is to be made: what its device will know the user by."""


@dataclass(frozen=True)
class Passkey:
    """One passkey of a user's; ``handle`` is what the device knows the user by, which says nothing of them."""

    id: str
    user: str
    handle: str
    credential_id: str
    public_key: bytes
    """COSE, as the device gave it (RFC 9052)."""
    sign_count: int
    """How often it signed, if its device counts; a copy of it counts for itself, which shows."""
    name: str
    created_at: datetime
    used_at: datetime | None = None

    def overtaken_by(self, count: int) -> bool:
        """Whether ``count`` can come from the one device that has it: a count never stands still or goes back."""
        return (count > 0 or self.sign_count > 0) and count <= self.sign_count


class PasskeyStore(Protocol):
    """The stored passkeys and challenges, inside one transaction of the database."""

    def ask(self, challenge: Challenge) -> None:
        """Keep a challenge; an earlier one of this browser for the same purpose is good no more."""

    def take(self, cookie_hash: str, purpose: Purpose) -> Challenge:
        """A browser's challenge, which is used up now. Raises NotFound."""

    def add(self, passkey: Passkey) -> None:
        """Keep a new passkey. Raises Conflict when it is known already."""

    def of_user(self, user: str) -> tuple[Passkey, ...]:
        """Every passkey of a user, oldest first."""

    def of_credential(self, credential_id: str) -> Passkey:
        """By what its device calls it. Raises NotFound."""

    def used(self, old: Passkey, sign_count: int, now: datetime) -> None:
        """Note a use. Raises Conflict when it was used otherwise since ``old`` was read."""

    def rename(self, user: str, passkey_id: str, name: str) -> None:
        """Give it another name. Raises NotFound when the user has none of that id."""

    def remove(self, user: str, passkey_id: str) -> None:
        """Forget it. Raises NotFound when the user has none of that id."""


def sign_in_challenge(cookie_hash: str, now: datetime) -> Challenge:
    """A challenge for whoever is at this browser."""
    return Challenge(cookie_hash, Purpose.SIGN_IN, secrets.token_bytes(32), now + LIFETIME)


def add_challenge(cookie_hash: str, known: Sequence[Passkey], now: datetime) -> Challenge:
    """A challenge for a new passkey beside ``known``; the handle is random, so that a device tells nobody's name."""
    handle = known[0].handle if known else secrets.token_urlsafe(32)
    return Challenge(cookie_hash, Purpose.ADD, secrets.token_bytes(32), now + LIFETIME, handle)


def creation_options(party: RelyingParty, challenge: Challenge, user: str, known: Sequence[Passkey]) -> dict[str, Any]:
    """What ``navigator.credentials.create`` takes; ``known`` are the user's passkeys, which are not made twice."""
    assert challenge.handle is not None  # noqa: S101 - it is for a new passkey
    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=party.title,
        user_name=user,
        user_id=base64url_to_bytes(challenge.handle),
        challenge=challenge.challenge,
        timeout=_TIMEOUT_MS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            require_resident_key=True,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(base64url_to_bytes(each.credential_id)) for each in known],
    )
    members: dict[str, Any] = json.loads(webauthn.options_to_json(options))
    return members


def request_options(party: RelyingParty, challenge: Challenge) -> dict[str, Any]:
    """What ``navigator.credentials.get`` takes; it names no passkey, so it says of nobody that they have one."""
    options = webauthn.generate_authentication_options(
        rp_id=party.id,
        challenge=challenge.challenge,
        timeout=_TIMEOUT_MS,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    members: dict[str, Any] = json.loads(webauthn.options_to_json(options))
    return members


def read_new(party: RelyingParty, challenge: Challenge, answer: str, *, user: str, name: str, now: datetime) -> Passkey:
    """The passkey that a device made. Raises Refused for any answer that is not exactly to this challenge."""
    assert challenge.handle is not None  # noqa: S101 - it is for a new passkey
    _in_time(challenge, now)
    try:
        verified = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge.challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError) as error:
        raise Refused("The passkey's answer does not fit.", hint="try again") from error
    return Passkey(
        id=secrets.token_urlsafe(12),
        user=user,
        handle=challenge.handle,
        credential_id=bytes_to_base64url(verified.credential_id),
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        name=name,
        created_at=now,
    )


def credential_of(answer: str) -> str:
    """Which passkey an answer claims to be of. Raises Refused."""
    try:
        return bytes_to_base64url(webauthn.helpers.parse_authentication_credential_json(answer).raw_id)
    except (WebAuthnException, ValueError, TypeError, KeyError) as error:
        raise unknown() from error


def verified_count(party: RelyingParty, challenge: Challenge, answer: str, passkey: Passkey, now: datetime) -> int:
    """The device's count, once all else of the answer holds. Raises Refused.

    The count itself is for the caller to judge (``Passkey.overtaken_by``): a copied passkey is more than a mistake.
    """
    _in_time(challenge, now)
    try:
        parsed = webauthn.helpers.parse_authentication_credential_json(answer)
        if parsed.response.user_handle != base64url_to_bytes(passkey.handle):
            raise unknown()
        return webauthn.verify_authentication_response(
            credential=parsed,
            expected_challenge=challenge.challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        ).new_sign_count
    except (WebAuthnException, ValueError, TypeError, KeyError) as error:
        raise unknown() from error


def unknown() -> Refused:
    """The same words for a passkey that nobody has and for one whose answer is wrong."""
    return Refused("This passkey is not known here, or its answer does not fit.", hint=_HINT)


def _in_time(challenge: Challenge, now: datetime) -> None:
    if now >= challenge.expires_at:
        raise Refused("This passkey was asked for too long ago.", hint=_HINT)
