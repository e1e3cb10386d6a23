"""A real sshd on a free port of this machine, for the user who runs the tests; it trusts one authority or one key."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.ssh.session import Door

PATIENCE_S = 30

_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
TrustedUserCAKeys {folder}/ca.pub
AuthorizedKeysFile {folder}/authorized_keys
AuthorizedPrincipalsFile {principals}
MaxSessions 50
LogLevel VERBOSE
"""


@dataclass(frozen=True)
class Sshd:
    """A server in ``folder``: ``ca.pub`` and ``authorized_keys`` may be rewritten while it runs."""

    folder: Path
    port: int

    @property
    def door(self) -> Door:
        return Door("127.0.0.1", getpass.getuser(), (self.folder / "host_key.pub").read_text(), self.port)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def sshd_in(folder: Path, *, trusted: str = "", authorized: str = "", principals: str = "none") -> Iterator[Sshd]:
    """It runs as long as the block does. ``trusted``: the authority's public line."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    (folder / "ca.pub").write_text(f"{trusted}\n")
    (folder / "authorized_keys").write_text(f"{authorized}\n")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key")], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(_CONFIG.format(port=port, folder=folder, principals=principals))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = [program, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait(port, process, folder)
        yield Sshd(folder, port)
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "log").read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(f"sshd does not listen after {PATIENCE_S} s")
