"""Fixtures: one gateway with process nodes for all these tests, and real browsers that look at it."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# The whole-gateway fixture is the acceptance tests'.
sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))

from chromium import Visitor, chromium
from gateway_site import Site, site_in
from oidc_provider import Client, Provider, running
from playwright.sync_api import Browser

NewVisitor = Callable[..., Visitor]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skipped where it is not installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with chromium(program) as running:
        yield running


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    """An institution and its clients, not running: the gateway must know both addresses before either is there."""
    port, own = free_port(), free_port()
    clients = (
        Client("burst", f"http://127.0.0.1:{own}/web/institutions/lab/return", secrets.token_urlsafe(16)),
        Client("other", "http://127.0.0.1:9/return", secrets.token_urlsafe(16)),
    )
    people = {"maria": secrets.token_urlsafe(12), "nobody": secrets.token_urlsafe(12)}
    return Provider(tmp_path_factory.mktemp("lab"), port, own, people, clients)


@pytest.fixture(scope="session")
def site(browser: Browser, lab: Provider) -> Iterator[Site]:
    """One gateway; its idle nodes stay for the next job. People of the lab may sign in, once they are linked."""
    secret = lab.folder / "client.secret"
    secret.write_text(lab.clients[0].secret)
    facts = {"name": "lab", "title": "Example Lab", "issuer": lab.issuer, "client_id": "burst"}
    facts |= {"client_secret_file": str(secret), "email_domains": ["lab.example"], "trusts_email": True}
    toml = ", ".join(f"{name} = {json.dumps(value)}" for name, value in facts.items())
    with site_in(nodes="process", idle_s=30, port=lab.gateway_port, institutions=f"[{{{toml}}}]") as running:
        running.add_user("ada")
        yield running


@pytest.fixture(scope="session")
def provider(lab: Provider) -> Iterator[Provider]:
    """The institution's own server, running."""
    with running(lab):
        yield lab


@pytest.fixture
def visitor(browser: Browser, site: Site) -> Iterator[NewVisitor]:
    """Makes people with a browser of their own; a page that broke a rule of its own fails the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(Visitor.of(browser, site, **how))
