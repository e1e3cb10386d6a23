"""Supervisor: what the gateway's process tells systemd, where systemd started it (sd_notify(3)).

Invariant: no child of this process inherits the supervisor's socket.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def take_socket() -> str | None:
    """The supervisor's socket, removed from the environment; None where nobody supervises."""
    return os.environ.pop("NOTIFY_SOCKET", None)


def tell_ready(address: str | None) -> None:
    """Say that this process serves. A supervisor that does not listen is no reason to stop."""
    if not address:
        return
    # A name that begins with @ is in Linux's abstract namespace (unix(7)).
    name = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(f"READY=1\nMAINPID={os.getpid()}\n".encode(), name)
