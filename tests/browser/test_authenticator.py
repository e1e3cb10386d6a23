"""An authenticator app in a real Chromium: the secret of the page makes codes, as an app would."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import segno
from chromium import Visitor
from playwright.sync_api import Page, expect

from gateway.identity import totp

pytestmark = pytest.mark.timeout(300)

READABLE = (Path(__file__).parent / "readable.js").read_text()


def code_of(secret: bytes, steps: int = 0) -> str:
    return totp.code_at(secret, totp.step_of(datetime.now(UTC)) + steps)


def prove(page: Page, password: str, code: str | None = None) -> None:
    """Open the section's box and fill in what it asks for."""
    page.locator("#totp summary").click()
    page.locator("#totp").get_by_label("Password").fill(password)
    if code is not None:
        page.locator("#totp").get_by_label("Code of your authenticator app").fill(code)


def enrol(guest: Visitor, user: str) -> tuple[Page, bytes]:
    """Up to the page with the QR code; the secret is read from the page's text."""
    page = guest.sign_in("/web/account", user=user)
    prove(page, guest.password(user))
    page.get_by_role("button", name="Show the QR code").click()
    uri = page.locator("input[name=uri]").input_value()
    secret = page.locator("code.secret").inner_text()
    assert parse_qs(urlsplit(uri).query)["secret"] == [secret.rstrip("=")]
    # No program here reads a picture; the lines of the code are those of this very address.
    drawn = page.locator("figure.qr path.qrline").get_attribute("d")
    assert f'd="{drawn}"' in segno.make(uri, micro=False).svg_inline(border=4)
    return page, base64.b32decode(secret)


def test_an_app_is_enrolled_used_and_removed(site, visitor):
    """A wrong first code is said and may be typed again; then signing in needs a code, until the app is removed."""
    site.add_user("tess")
    guest = visitor()
    page, secret = enrol(guest, "tess")
    expect(page.get_by_role("img", name="QR code for an authenticator app").locator("svg")).to_be_visible()
    assert page.evaluate(READABLE) == []

    page.get_by_label("The code that it shows now").fill("000000")
    page.get_by_role("button", name="Use this app").click()
    expect(page.get_by_role("alert")).to_contain_text("The code is wrong.")
    page.get_by_label("The code that it shows now").fill(code_of(secret, -1))
    page.get_by_role("button", name="Use this app").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Recovery codes")
    expect(page.locator(".codes li")).to_have_count(10)
    assert page.evaluate(READABLE) == []
    page.goto("/web/account")
    expect(page.locator("#totp")).to_contain_text("10 recovery codes are left")
    guest.sign_out()
    guest.fill_in("tess", guest.password("tess"))
    page.get_by_label("Code of your authenticator app").fill(code_of(secret))
    page.get_by_label("Password").fill(guest.password("tess"))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/web/jobs")

    page.goto("/web/account")
    prove(page, guest.password("tess"), code_of(secret, 1))
    page.get_by_role("button", name="Remove the app").click()

    expect(page.locator("#totp")).to_contain_text("None.")
    told = site.rows(
        "SELECT action FROM audit_records WHERE subject = 'user:tess' AND action LIKE '%totp' ORDER BY seq"
    )
    assert told == [("enrol totp",), ("remove totp",)]


def test_the_cookie_alone_changes_nothing(site, visitor):
    """A browser that was left open: without the password no secret is made, with a wrong one neither."""
    site.add_user("ugo")
    guest = visitor()
    page = guest.sign_in("/web/account", user="ugo")
    prove(page, "a wrong password")

    page.get_by_role("button", name="Show the QR code").click()

    expect(page.get_by_role("alert")).to_contain_text("The user name or the password is wrong.")
    assert site.rows("SELECT count(*) FROM totp_factors WHERE user_name = 'ugo'") == [(0,)]
