"""A device in software that makes and uses passkeys, for answers that no browser would give (Web Authentication §6)."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
BOTH = PRESENT | VERIFIED
ORIGIN = "http://localhost:8080"


@dataclass
class SoftPasskey:
    """One key for one site; ``count`` goes up with each use, as a device's does."""

    rp_id: str = "localhost"
    origin: str = ORIGIN
    flags: int = BOTH
    count: int = 0
    handle: str = ""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def make(self, options: dict[str, Any]) -> str:
        """What ``navigator.credentials.create`` would answer."""
        self.handle = options["user"]["id"]
        numbers = self.key.public_key().public_numbers()
        x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
        cose = encode_cbor({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cose
        facts = {"fmt": "none", "attStmt": {}, "authData": self._data(self.flags | ATTESTED) + attested}
        response = {
            "clientDataJSON": bytes_to_base64url(self._said("webauthn.create", options)),
            "attestationObject": bytes_to_base64url(encode_cbor(facts)),
        }
        return self._credential(response)

    def use(self, options: dict[str, Any]) -> str:
        """What ``navigator.credentials.get`` would answer."""
        self.count += 1
        said, data = self._said("webauthn.get", options), self._data(self.flags)
        signature = self.key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(SHA256()))
        response = {
            "clientDataJSON": bytes_to_base64url(said),
            "authenticatorData": bytes_to_base64url(data),
            "signature": bytes_to_base64url(signature),
            "userHandle": self.handle,
        }
        return self._credential(response)

    def _said(self, kind: str, options: dict[str, Any]) -> bytes:
        return json.dumps({"type": kind, "challenge": options["challenge"], "origin": self.origin}).encode()

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _credential(self, response: dict[str, str]) -> str:
        own_id = bytes_to_base64url(self.credential_id)
        return json.dumps({"id": own_id, "rawId": own_id, "type": "public-key", "response": response})


def flipped(answer: str, member: str) -> str:
    """The answer with one bit of a member changed."""
    credential = json.loads(answer)
    raw = bytearray(base64url_to_bytes(credential["response"][member]))
    raw[-1] ^= 1
    credential["response"][member] = bytes_to_base64url(bytes(raw))
    return json.dumps(credential)
