"""A stub gateway, and a login at it that is kept in a folder of the test's own."""

from __future__ import annotations

import pytest
from stub_gateway import PASSWORD, serve

from gateway.client.gateway import Gateway
from gateway.client.session import Session


@pytest.fixture
def stub(tmp_path, monkeypatch):
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("BURST_URL", raising=False)
    monkeypatch.delenv("BURST_PROFILE", raising=False)
    with serve() as running:
        yield running


@pytest.fixture
def session(stub):
    with Session.login(stub.url, "demo", PASSWORD) as session:
        yield session


@pytest.fixture
def gateway(session):
    return Gateway(session)
