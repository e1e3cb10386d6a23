"""What systemd is told."""

from __future__ import annotations

import os
import socket

from gateway.bootstrap.supervisor import take_socket, tell_ready


def test_readiness_is_told_once_and_the_socket_is_not_inherited(tmp_path, monkeypatch):
    """The supervisor hears which process serves; no child finds its socket."""
    place = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", place)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(place)
        supervisor.settimeout(5)

        taken = take_socket()
        tell_ready(taken)

        assert supervisor.recv(100).decode() == f"READY=1\nMAINPID={os.getpid()}\n"
    assert "NOTIFY_SOCKET" not in os.environ


def test_an_abstract_socket_is_one_too(tmp_path):
    """A name that begins with @ is in Linux's abstract namespace."""
    name = f"burst-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"\0{name}")
        supervisor.settimeout(5)

        tell_ready(f"@{name}")

        assert supervisor.recv(100).startswith(b"READY=1")


def test_without_a_supervisor_nothing_happens(tmp_path, monkeypatch):
    """Nobody there, or nobody who listens: the gateway serves all the same."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert take_socket() is None
    tell_ready(None)
    tell_ready(str(tmp_path / "nobody"))
