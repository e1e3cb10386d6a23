"""Chromium, and a visitor who has one: signs in, looks, and notes what the browser complains of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway_site import Site
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000

# Playwright's own 5 s are too few on two busy cores; what holds is seen at once however long it may take.
expect.set_options(timeout=PATIENCE_MS)

_REFUSED = "Failed to load resource"
"""What Chromium says of an answer of 400 or above, which a test may have asked for."""


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """A running browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS), timeout=PATIENCE_MS)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody at a browser; ``complaints`` are errors of scripts and breaches of the content policy."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def of(cls, browser: Browser, site: Site, **how: Any) -> Iterator[Visitor]:
        """A visitor with an empty browser; ``how`` is Playwright's (viewport, color_scheme, ...)."""
        context = browser.new_context(**{"base_url": site.url, **how})
        context.set_default_timeout(PATIENCE_MS)
        visitor = cls(context.new_page(), site)
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        visitor.page.on("console", visitor.hear)
        yield visitor
        context.close()
        assert visitor.complaints == []

    def hear(self, message: ConsoleMessage) -> None:
        """Note what the browser calls an error."""
        if message.type == "error" and not message.text.startswith(_REFUSED):
            self.complaints.append(message.text)

    def password(self, user: str) -> str:
        """As the gateway, or the test, wrote it to a file."""
        return (self.site.directory / "secrets" / f"{user}.password").read_text().strip()

    def fill_in(self, user: str, password: str) -> None:
        """Send the sign-in form of the page that is open."""
        self.page.get_by_label("Name").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def sign_in(self, path: str = "/web/jobs", user: str = "demo") -> Page:
        """Ask for a page, sign in on the way, and come to it."""
        self.page.goto(path)
        self.fill_in(user, self.password(user))
        self.page.wait_for_url(f"**{path}")
        return self.page

    def sign_out(self) -> Page:
        """By the button of every page."""
        self.page.get_by_role("button", name="Sign out").click()
        self.page.wait_for_url("**/web/sign-in")
        return self.page
