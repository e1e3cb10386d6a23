"""Where a gateway listens."""

from __future__ import annotations

import socket

import pytest

from gateway.bootstrap.machine import Machine
from gateway.engines import embedded
from gateway.provisioning.local_cloud import LocalCloud
from gateway.settings import Settings


@pytest.mark.parametrize(
    ("listen", "addresses"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("192.0.2.7", ("127.0.0.1", "192.0.2.7")),
        ("0.0.0.0", ("0.0.0.0",)),  # noqa: S104 - that is the case
    ],
)
def test_the_api_listens_on_loopback_and_where_it_is_told(tmp_path, listen, addresses):
    """One more address is added; every address needs only one socket."""
    settings = Settings(directory=tmp_path, listen=listen)
    cloud = LocalCloud.reopen(settings, "process", "")

    assert Machine(settings, cloud, None).addresses == addresses


def test_slurm_is_looked_for_where_the_hosts_name_points(monkeypatch):
    """Its daemons listen on that address; a host whose name is unknown has loopback."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 0))]
    monkeypatch.setattr(embedded.socket, "getaddrinfo", lambda *_: found)
    assert embedded.own_address() == "127.0.1.1"

    def unknown(*_: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(embedded.socket, "getaddrinfo", unknown)
    assert embedded.own_address() == "127.0.0.1"
