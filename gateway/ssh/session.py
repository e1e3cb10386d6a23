"""Session: commands and files on one host over SSH; the one place that knows paramiko.

Invariant: nothing is said to a host before it has proven the key that was pinned for it; no agent, key file or
known_hosts of the gateway's own user takes part. What is secret goes through stdin, never into a command's words.
"""

from __future__ import annotations

import base64
import binascii
import io
import logging
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    SSHException,
)

from gateway.errors import (
    HostKeyChanged,
    HostSilent,
    HostUnreachable,
    InvalidRequest,
    LoginRefused,
    SshError,
)
from gateway.ssh.authority import Identity

# What goes wrong is raised, and told once; its own log would have a traceback for each look at a host that still boots.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

CONNECT_S = 15.0
RUN_S = 60.0
OUTPUT_BYTES = 1 << 20
KEEPALIVE_S = 15
_CHUNK = 32768

_KINDS: Mapping[str, Callable[..., paramiko.PKey]] = {
    "ssh-ed25519": paramiko.Ed25519Key,
    "ecdsa-sha2-nistp256": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp384": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp521": paramiko.ECDSAKey,
    "ssh-rsa": paramiko.RSAKey,
}

_PUT = 'set -eu; umask 077; cat > "$1.new"; chmod "$2" "$1.new"; mv -f -- "$1.new" "$1"'


@dataclass(frozen=True)
class Door:
    """Where a host answers and which key it has. ``host_key``: "ssh-ed25519 AAAA…", as in known_hosts(5)."""

    address: str
    user: str
    host_key: str
    port: int = 22
    sudo: bool = False
    """Whether ``user`` must become root by sudo(8), without a password, for every command."""

    def __str__(self) -> str:
        return f"{self.user}@{self.address}:{self.port}"


@dataclass(frozen=True)
class Done:
    """How a command ended. ``code``: 128 + n and more are the shell's; -1 if the host does not say."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """stdout as text."""
        return self.out.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The last line of stderr."""
        return (self.err.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]


class Session:
    """An open connection. Several threads may use it at once."""

    def __init__(self, door: Door, client: paramiko.SSHClient) -> None:
        self.door = door
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the connection still stands, as far as this side knows."""
        transport = self._client.get_transport()
        return transport is not None and transport.is_active()

    def close(self) -> None:
        """End it."""
        self._client.close()

    def run(
        self, argv: Sequence[str], data: bytes = b"", *, timeout_s: float = RUN_S, most_bytes: int = OUTPUT_BYTES
    ) -> Done:
        """Run a command with ``data`` as its stdin; its words reach it as they are, whatever is in them.

        Raises HostUnreachable if it surely did not start, HostSilent if it may have run (no end within ``timeout_s``,
        or the connection broke), SshError for more than ``most_bytes`` of output.
        """
        channel = self._channel(shlex.join([*(("sudo", "-n", "--") if self.door.sudo else ()), *argv]))
        expired = threading.Event()
        try:
            with _limited(channel, timeout_s, expired):
                done = _exchange(channel, data, most_bytes)
        except OSError as error:
            raise HostSilent(f"{self.door} broke the connection off: {error}") from error
        if expired.is_set():
            raise HostSilent(f"{argv[0]} on {self.door} did not end within {timeout_s:g} s")
        if max(len(done.out), len(done.err)) > most_bytes:
            raise SshError(f"{argv[0]} on {self.door} wrote more than {most_bytes} bytes")
        if done.code < 0 and not self.alive:
            raise HostSilent(f"{self.door} broke the connection off while {argv[0]} ran")
        return done

    def put_file(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Write a file whole or not at all; nobody else can read it before it has its mode. Raises SshError."""
        done = self.run(("sh", "-c", _PUT, "put", path, f"{mode:o}"), content)
        if done.code != 0:
            raise SshError(f"{path} could not be written on {self.door}: {done.complaint}")

    def _channel(self, command: str) -> paramiko.Channel:
        transport = self._client.get_transport()
        try:
            if transport is None:
                raise SSHException("closed")  # noqa: TRY301 - as paramiko itself says it a moment later
            channel = transport.open_session(timeout=CONNECT_S)
        except (SSHException, OSError, EOFError) as error:
            raise HostUnreachable(f"{self.door} takes no command: {error}") from error
        try:
            channel.exec_command(command)
        except (SSHException, OSError, EOFError) as error:
            raise HostSilent(f"{self.door} did not confirm a command: {error}") from error
        return channel


def connect(door: Door, identity: Identity, *, timeout_s: float = CONNECT_S) -> Session:
    """Log in. Raises HostKeyChanged, LoginRefused, HostUnreachable; InvalidRequest for a key that cannot be read."""
    client = paramiko.SSHClient()
    kind, key = _pinned(door)
    # No other policy: what is not pinned is refused.
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.get_host_keys().add(door.address if door.port == 22 else f"[{door.address}]:{door.port}", kind, key)  # noqa: PLR2004
    with _explained(door, client.close):
        client.connect(
            door.address,
            door.port,
            door.user,
            pkey=_private(identity),
            timeout=timeout_s,
            banner_timeout=timeout_s,
            auth_timeout=timeout_s,
            channel_timeout=timeout_s,
            allow_agent=False,
            look_for_keys=False,
        )
        if (transport := client.get_transport()) is not None:
            transport.set_keepalive(KEEPALIVE_S)
    return Session(door, client)


def check_pin(door: Door) -> None:
    """Raises InvalidRequest if what is pinned for a host is no host key."""
    _pinned(door)


@contextmanager
def _explained(door: Door, undo: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        undo()
        if isinstance(error, Exception) and (told := _told(door, error)) is not None:
            raise told from error
        raise


def _told(door: Door, error: Exception) -> SshError | None:
    match error:
        case BadHostKeyException():
            return HostKeyChanged(
                f"{door.address}:{door.port} shows another host key than the one that is pinned for it",
                hint="find out why; if the host was reinstalled, put its new key into the settings",
            )
        case AuthenticationException():
            return LoginRefused(
                f"{door} refuses the login",
                hint="its sshd must trust this gateway's authority (TrustedUserCAKeys) or key, and know the user",
            )
        # A host without a key of the pinned kind has another key.
        case SSHException() if "host key" in str(error).lower() or "no acceptable" in str(error).lower():
            return HostKeyChanged(f"{door.address}:{door.port} has no {door.host_key.split()[0]} host key: {error}")
        case NoValidConnectionsError() | SSHException() | OSError() | EOFError():
            return HostUnreachable(f"{door.address}:{door.port} does not answer: {error}")
        case _:
            return None


def _pinned(door: Door) -> tuple[str, paramiko.PKey]:
    """The pinned key. Raises InvalidRequest."""
    try:
        kind, text = door.host_key.split()[:2]
        return kind, _KINDS[kind](data=base64.b64decode(text, validate=True))
    except (ValueError, KeyError, binascii.Error, SSHException) as error:
        raise InvalidRequest(
            f"the host key of {door.address} cannot be read",
            hint='it is two words, such as "ssh-ed25519 AAAA…": ssh-keyscan -t ed25519 HOST shows it',
            field="host_key",
        ) from error


def _private(identity: Identity) -> paramiko.PKey:
    """The login's key with its certificate. Raises InvalidRequest."""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            key: paramiko.PKey = kind.from_private_key(io.StringIO(identity.private_key))
        except (SSHException, ValueError):
            continue
        if identity.certificate:
            key.load_certificate(identity.certificate)
        return key
    raise InvalidRequest("the private key for SSH cannot be read", hint="it must have no passphrase", field="key")


@contextmanager
def _limited(channel: paramiko.Channel, seconds: float, expired: threading.Event) -> Iterator[None]:
    def expire() -> None:
        expired.set()
        channel.close()

    timer = threading.Timer(seconds, expire)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        channel.close()


def _exchange(channel: paramiko.Channel, data: bytes, most_bytes: int) -> Done:
    with ThreadPoolExecutor(2, thread_name_prefix="ssh") as pool:
        sent = pool.submit(_send, channel, data)
        complaints = pool.submit(_received, channel, channel.recv_stderr, most_bytes)
        out = _received(channel, channel.recv, most_bytes)
        sent.result()
        return Done(channel.recv_exit_status(), out, complaints.result())


def _send(channel: paramiko.Channel, data: bytes) -> None:
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except OSError:
        return  # a command need not read all that it is given


def _received(channel: paramiko.Channel, receive: Callable[[int], bytes], most_bytes: int) -> bytes:
    """All of it; one chunk more than ``most_bytes`` ends the command."""
    chunks, size = [], 0
    while chunk := receive(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > most_bytes:
            channel.close()
            break
    return b"".join(chunks)
