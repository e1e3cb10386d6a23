"""A real object store for these tests."""

from __future__ import annotations

import pytest

from gateway.settings import Settings
from gateway.staging.embedded_store import EmbeddedStore


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    embedded = EmbeddedStore(Settings(directory=tmp_path_factory.mktemp("store")))
    embedded.start()
    yield embedded.open()
    embedded.stop()
