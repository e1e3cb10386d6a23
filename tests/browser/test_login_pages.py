"""The page of one's logins in a real Chromium: what is listed there is ended by a request that the browser signs."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(300)


def test_a_login_of_a_command_is_ended_on_the_page(site, visitor, tmp_path):
    """The command's login is shown; ended there, its next request is refused; the browser's own goes on."""
    own = {"BURST_CONFIG": str(tmp_path), "HOME": str(tmp_path)}
    words = ("login", "--dir", str(site.directory), "--scope", "nodes:read")
    assert site.burst(*words, user=None, env=own).code == 0
    page = visitor().sign_in("/web/sessions")
    card = page.locator("article", has_text="nodes:read").filter(has_not_text="jobs:read")
    expect(card).to_contain_text("password")

    card.get_by_role("button", name="End the login").click()

    expect(card).to_have_count(0)
    assert "burst login" in site.burst("whoami", user=None, env=own).complaint
    expect(page.locator("article", has_text="this one")).to_have_count(1)
