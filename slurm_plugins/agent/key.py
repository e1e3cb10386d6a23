"""Key: this node's Ed25519 key pair, made here by openssl(1), which every Debian has, and used by it.

Invariant: the private half is in one file of mode 0600 and in openssl's memory, never in argv, environment or a
request; only the public half is sent.
"""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from slurm_plugins.agent.filesystem import FileTrouble, write_privately
from slurm_plugins.agent.programs import program

PUBLIC_BYTES = 32
"""The last of the DER form of an Ed25519 public key (RFC 8410 section 4)."""


@dataclass(frozen=True)
class Key:
    """``file``: PKCS#8 in PEM."""

    file: Path

    def make(self) -> None:
        """Make it unless it is there. Raises FileTrouble where there is no openssl."""
        if not self.file.exists():
            write_privately(self.file, _openssl("genpkey", "-algorithm", "ED25519"))

    @property
    def public_jwk(self) -> dict[str, str]:
        """The public half (RFC 8037)."""
        der = _openssl("pkey", "-in", str(self.file), "-pubout", "-outform", "DER")
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(der[-PUBLIC_BYTES:])}

    def sign(self, data: bytes) -> bytes:
        """64 bytes (RFC 8032)."""
        # openssl before 3.2 signs at once only what has a size: a file, not a pipe.
        memory = os.memfd_create("to-be-signed")
        try:
            os.write(memory, data)
            words = ("-rawin", "-inkey", str(self.file), "-in", f"/proc/self/fd/{memory}")
            return _openssl("pkeyutl", "-sign", *words, keep=(memory,))
        finally:
            os.close(memory)


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*words: str, keep: tuple[int, ...] = ()) -> bytes:
    openssl = program("openssl", "a node makes its key with it; put it into the image (apt-get install openssl)")
    done = subprocess.run([openssl, *words], capture_output=True, env={}, pass_fds=keep, check=False)
    if done.returncode != 0:
        complaint = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[0]
        raise FileTrouble(f"openssl {words[0]} failed: {complaint}; Ed25519 needs OpenSSL 3.0 or newer")
    return done.stdout
