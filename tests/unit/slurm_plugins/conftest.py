"""A real object store for the module, a fresh node for each test."""

from __future__ import annotations

import pytest
from agent_site import AgentSite

from gateway.settings import Settings
from gateway.staging.embedded_store import EmbeddedStore


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    embedded = EmbeddedStore(Settings(directory=tmp_path_factory.mktemp("store")))
    embedded.start()
    yield embedded
    embedded.stop()


@pytest.fixture
def site(tmp_path, embedded):
    """A node that has joined; what earlier jobs left in the store is removed."""
    store = embedded.open()
    for key, _ in list(store.list("jobs/")):
        store.delete(key)
    site = AgentSite(tmp_path, store).joined()
    yield site
    site.close()
    # A live child that is still there ends when its file is gone.
    for live in site.state.glob("jobs/*/live"):
        live.unlink()
