"""A link and what is shared, in a real Chromium: no server sees the secret in an address."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.timeout(300)

READABLE = (Path(__file__).parent / "readable.js").read_text()


def can_be_read(page: Page) -> None:
    """By everybody, and on a phone."""
    assert page.evaluate(READABLE) == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def ended(site):
    """A job that left a file."""
    return site.finish(site.submit("mkdir out; echo 42 > out/answer.txt; echo 1 > other.txt", "--time=1"))


def test_f18_a_link_is_opened_in_a_browser_without_its_secret_in_an_address(site, visitor, ended):
    """The page shows the file and fetches it; the secret is in no requested URL, and gone from the address bar."""
    with site.login() as gateway:
        made = gateway.shares.link(str(ended.id), "out", 600)
    page = visitor().page
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(made.url)

    file = page.get_by_role("link", name="out/answer.txt")
    expect(file).to_be_visible(timeout=60_000)
    expect(page.get_by_text("other.txt")).to_have_count(0)
    assert asked
    assert not [url for url in asked if made.secret in url.partition("#")[0]]
    assert made.secret not in page.url
    assert page.request.get(file.get_attribute("href")).text() == "42\n"

    with site.login() as gateway:
        gateway.shares.revoke_link(made.link.id)
    own = visitor().sign_in("/web/shared")
    expect(own.get_by_text("taken back")).to_be_visible()
    can_be_read(own)
    page.goto("about:blank")
    page.goto(made.url)
    expect(page.get_by_role("status")).to_contain_text("was taken back")


def test_what_is_shared_is_on_a_page_with_downloads(site, visitor, ended):
    """Ada sees demo's folder once it is shared with her, and may not open the job's own page."""
    page = visitor().sign_in("/web/shared", "ada")
    expect(page.get_by_text("Nobody shares anything with you.")).to_be_visible()

    assert site.burst("share", f"{ended.id}:out", "--with", "ada").code == 0
    page.reload()

    can_be_read(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="out/answer.txt").click()
    assert download.value.path().read_text() == "42\n"
    expect(page.get_by_text("other.txt")).to_have_count(0)
    answer = page.goto(f"/web/jobs/{ended.id}")
    assert answer.status == 404
