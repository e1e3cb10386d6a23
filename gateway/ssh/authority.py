"""Authority: the certificate authority that this gateway logs in to hosts with (ssh-keygen(1), CERTIFICATES).

Invariant: a login's key is made for it, never written to a disk, and its certificate ends within minutes, so there is
no key to steal or to withdraw; a host trusts one public line.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_private_key,
    load_ssh_public_key,
)

from gateway.errors import InvalidRequest, SetupError

LIFE = timedelta(minutes=5)
"""How long a certificate may open a session; the session may last longer."""
CLOCKS_MAY_DIFFER = timedelta(minutes=1)


Keep = Callable[[Path, Callable[[], bytes]], bytes]
"""Gives the secret of a file, made by the second if the file is not there: how it lies on the disk is its own."""


@dataclass(frozen=True)
class Identity:
    """A private key in OpenSSH's format and, where the host asks for one, the certificate of its public half."""

    private_key: str
    certificate: str | None = None

    def __repr__(self) -> str:
        """Without the key."""
        return "Identity(…)"


@dataclass(frozen=True)
class Authority:
    """``private_key``: Ed25519, in OpenSSH's format, as `make_private_key` makes it."""

    private_key: bytes

    @classmethod
    def kept(cls, private_file: Path, public_file: Path, keep: Keep | None = None) -> Authority:
        """The one whose key is in ``private_file``, made at the first use; its public line is written for hosts.

        ``keep`` reads and writes the key, sealed in a gateway's own directory; without it the file is plain.
        """
        authority = cls((keep or _plainly)(private_file, make_private_key))
        line = f"{authority.public_line}\n"
        if not public_file.exists() or public_file.read_text() != line:
            public_file.write_text(line)
        return authority

    def __repr__(self) -> str:
        """Without the key."""
        return f"Authority({self.public_line!r})"

    @property
    def public_line(self) -> str:
        """For the file that a host's sshd names in TrustedUserCAKeys (sshd_config(5))."""
        return f"{_public(self._key)} burst-gateway"

    def identity(self, user: str, name: str, now: datetime, life: timedelta = LIFE) -> Identity:
        """A new key that may log in as ``user`` from now on for ``life``; ``name`` is what sshd writes in its log.

        The certificate allows commands only: no terminal, no forwarding.
        """
        key = Ed25519PrivateKey.generate()
        certificate = _user_certificate(key.public_key(), user, name, now, life).sign(self._key)
        return Identity(_private(key).decode(), certificate.public_bytes().decode())

    def certify(self, public_line: str, principal: str, *, name: str, now: datetime, life: timedelta) -> str:
        """A certificate of somebody's own Ed25519 key, for ``principal`` alone: commands and a terminal, no forwarding.

        ``public_line``: "ssh-ed25519 BASE64". Raises InvalidRequest for another kind of key.
        """
        builder = _user_certificate(_client_key(public_line), principal, name, now, life)
        return builder.add_extension(b"permit-pty", b"").sign(self._key).public_bytes().decode()

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        try:
            key = load_ssh_private_key(self.private_key, password=None)
        except ValueError as error:
            raise SetupError("the SSH authority's key cannot be read", hint="restore secrets/ssh-ca.key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SetupError("the SSH authority's key is not an Ed25519 key", hint="remove secrets/ssh-ca.key")
        return key


def make_private_key() -> bytes:
    """A new Ed25519 key in OpenSSH's format, without a passphrase."""
    return _private(Ed25519PrivateKey.generate())


def _user_certificate(
    key: Ed25519PublicKey, principal: str, name: str, now: datetime, life: timedelta
) -> SSHCertificateBuilder:
    return (
        SSHCertificateBuilder()
        .public_key(key)
        .serial(secrets.randbits(64))
        .type(SSHCertificateType.USER)
        .key_id(name.encode())
        .valid_principals([principal.encode()])
        .valid_after((now - CLOCKS_MAY_DIFFER).timestamp())
        .valid_before((now + life).timestamp())
    )


def _client_key(public_line: str) -> Ed25519PublicKey:
    hint = "make one: ssh-keygen -t ed25519"
    try:
        key = load_ssh_public_key(public_line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidRequest("The SSH key cannot be read.", hint=hint, field="public_key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidRequest("The SSH key is not an Ed25519 key.", hint=hint, field="public_key")
    return key


def _plainly(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path, make())
    return path.read_bytes()


def _write_once(path: Path, secret: bytes) -> None:
    """Whole or not at all, for its owner only; who comes second keeps the first one's."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        path.hardlink_to(temporary)
    temporary.unlink()


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
