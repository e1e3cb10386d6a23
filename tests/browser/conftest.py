"""Fixtures: one gateway with process nodes for all these tests, and real browsers that look at it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# The whole-gateway fixture is the acceptance tests'.
sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))

from chromium import Visitor, chromium
from gateway_site import Site, site_in
from playwright.sync_api import Browser

NewVisitor = Callable[..., Visitor]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skipped where it is not installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with chromium(program) as running:
        yield running


@pytest.fixture(scope="session")
def site(browser: Browser) -> Iterator[Site]:
    """One gateway; its idle nodes stay for the next job."""
    with site_in(nodes="process", idle_s=30) as running:
        running.add_user("ada")
        yield running


@pytest.fixture
def visitor(browser: Browser, site: Site) -> Iterator[NewVisitor]:
    """Makes people with a browser of their own; a page that broke a rule of its own fails the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(Visitor.of(browser, site, **how))
