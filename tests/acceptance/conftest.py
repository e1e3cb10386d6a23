"""Fixtures: whole gateways, one for all tests that leave it as it was, new ones for those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from ceph_cluster import ceph
from gateway_site import NewSite, Site, shared_cache, site_in

from gateway.errors import SetupError
from gateway.provisioning.container_host import ContainerHost
from gateway.provisioning.node_image import NodeImage
from gateway.settings import Settings
from gateway.wire import JobView

__all__ = ["ceph"]


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where this machine allows no containers."""
    settings = Settings(directory=tmp_path_factory.mktemp("try"))
    image = NodeImage(shared_cache(), settings.image_suite, settings.image_packages)
    try:
        ContainerHost(settings.directory, image).require()
    except SetupError as error:
        pytest.skip(f"no containers here: {error.detail}")


@pytest.fixture(scope="session")
def site(containers: None) -> Iterator[Site]:
    """One gateway with container nodes for all tests that only run jobs on it; idle nodes stay for the next job."""
    with site_in(nodes="container", idle_s=20) as running:
        yield running


@pytest.fixture(scope="session")
def limited(site: Site) -> JobView:
    """A job of bob's that Slurm ends after a minute; asked for early, so that the minute passes during other tests."""
    site.add_user("bob", credits_ucr=50_000_000)
    return site.submit("echo begun | tee kept.txt; exec sleep 600", "--time=1", user="bob")


@pytest.fixture
def new_site() -> Iterator[NewSite]:
    """Makes gateways of their own for a test; ``new_site(start=False, **settings)`` leaves ``up`` to the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(site_in(**how))


@pytest.fixture(scope="module")
def module_site() -> Iterator[NewSite]:
    """The same, for all tests of a module."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(site_in(**how))
