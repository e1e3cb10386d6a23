"""NodeShell: a login on one node, by the system's own ssh(1), with a key made for it.

Invariant: key and certificate are in a folder of their user alone and go with it; ssh takes no other key, no agent and
no configuration, and a host whose key is not the pinned one gets nothing.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.errors import HostKeyChanged, HostUnreachable, LoginRefused, SetupError
from gateway.wire import NodeLogin

SSH_FAILED = 255
"""ssh(1), EXIT STATUS: its own error; a command may end so too."""

_OPTIONS = (
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "VerifyHostKeyDNS=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ControlPath=none",
    "ConnectTimeout=20",
    "ServerAliveInterval=30",
    "LogLevel=ERROR",
)


@dataclass(frozen=True)
class NodeShell:
    """``folder``: empty, its user's alone."""

    folder: Path

    def make_key(self) -> str:
        """Make the key; its public half as "ssh-ed25519 BASE64"."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        self._key.touch(mode=0o600, exist_ok=False)
        self._key.write_bytes(private)
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def run(self, login: NodeLogin, command: Sequence[str]) -> int:
        """Log in, run the command or a shell; its exit code. Raises HostKeyChanged, LoginRefused, HostUnreachable."""
        self._certificate.write_text(login.certificate + "\n")
        self._known_hosts.write_text("".join(f"{login.node} {line}\n" for line in login.host_keys))
        code = subprocess.run([*self.words(login), *command], check=False).returncode
        if code == SSH_FAILED and (said := self._said()):
            raise _explained(login, said)
        return code

    def words(self, login: NodeLogin) -> list[str]:
        """The call of ssh, without a command. Raises SetupError where there is no ssh."""
        ssh = shutil.which("ssh")
        if ssh is None:
            raise SetupError("ssh is not installed", hint="run: apt-get install openssh-client")
        files = (
            f"UserKnownHostsFile={_quoted(self._known_hosts)}",
            f"IdentityFile={_quoted(self._key)}",
            f"CertificateFile={_quoted(self._certificate)}",
            f"HostKeyAlias={login.node}",
        )
        options = [word for option in (*_OPTIONS, *files) for word in ("-o", option)]
        return [ssh, "-F", "none", "-E", str(self._log), *options, "-p", str(login.port), "-l", login.user,
                "--", login.address]  # fmt: skip

    def _said(self) -> str:
        """What ssh itself complained of; not what the command wrote."""
        return self._log.read_text(errors="replace").strip() if self._log.exists() else ""

    @property
    def _key(self) -> Path:
        return self.folder / "key"

    @property
    def _certificate(self) -> Path:
        return self.folder / "key-cert.pub"

    @property
    def _known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def _log(self) -> Path:
        return self.folder / "log"


@contextmanager
def node_shell() -> Iterator[NodeShell]:
    """One in a folder that is gone afterwards, also when this process is told to end."""
    with tempfile.TemporaryDirectory(prefix="burst-ssh-") as folder, _ending_in_order():
        yield NodeShell(Path(folder))


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP as exceptions, so that folders go."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _explained(login: NodeLogin, said: str) -> HostKeyChanged | LoginRefused | HostUnreachable:
    where = f"{login.node} at {login.address}"
    if "Host key verification failed" in said or "host key" in said.lower():
        return HostKeyChanged(
            f"{where} shows another host key than the one that {login.node} reported when it joined",
            hint="nothing was sent to it; tell an administrator: somebody may stand between, or the node was altered",
        )
    if "Permission denied" in said:
        return LoginRefused(f"{where} refuses the certificate", hint="was it replaced just now? try once more")
    return HostUnreachable(
        f"{where} cannot be reached: {said.splitlines()[-1]}", hint="from here there must be a way to its address"
    )


def _quoted(path: Path) -> str:
    """As ssh_config(5) reads a file's name: quotes keep spaces, and a percent sign begins a token."""
    return f'"{str(path).replace("%", "%%")}"'
