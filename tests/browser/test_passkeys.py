"""Passkeys in a real Chromium, whose virtual device makes and uses real keys (WebDriver: Virtual Authenticators)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from chromium import Visitor
from playwright.sync_api import CDPSession, Page, expect

pytestmark = pytest.mark.timeout(300)

READABLE = (Path(__file__).parent / "readable.js").read_text()


@dataclass
class Device:
    """The virtual device of a visitor's page."""

    session: CDPSession
    id: str

    @classmethod
    def of(cls, page: Page, *, verifies: bool = True) -> Device:
        """Plug it in; one that does not verify cannot ask its owner for a PIN or a finger."""
        session = page.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        return cls(session, session.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"])

    def credentials(self) -> list[dict[str, Any]]:
        """What is in it, with the private keys, as no real device would tell."""
        answer = self.session.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        return list(answer["credentials"])

    def put(self, key: dict[str, Any]) -> None:
        """Copy a key into it."""
        self.session.send("WebAuthn.addCredential", {"authenticatorId": self.id, "credential": key})


@pytest.fixture
def at_localhost(site, visitor) -> Callable[..., Visitor]:
    """Makes visitors who come by the computer's name: browsers take no address for a passkey's site."""
    port = site.url.rpartition(":")[2]
    return lambda **how: visitor(base_url=f"http://localhost:{port}", **how)


def add(page: Page, name: str) -> None:
    """Add a passkey on the account's page, and see it there."""
    page.goto("/web/account")
    page.get_by_label("Name of this device").fill(name)
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.locator("#passkeys tbody th").filter(has_text=name)).to_have_count(1)


def use(page: Page) -> None:
    """Sign in with it."""
    page.get_by_role("button", name="Use a passkey").click()


def test_a_passkey_signs_in_in_place_of_a_password(site, at_localhost):
    """Added by a signed-in browser, used after a sign-out; it is a fresh proof, its browser's key is certified."""
    guest = at_localhost()
    page = guest.sign_in()
    device = Device.of(page)
    add(page, "laptop")
    assert [key["isResidentCredential"] for key in device.credentials()] == [True]
    guest.sign_out()

    page.get_by_role("button", name="Use a passkey").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/web/jobs")

    expect(page.get_by_role("link", name="Account of demo")).to_be_visible()
    page.goto("/web/device")  # not led to the sign-in: its proof is minutes old
    expect(page.get_by_label("Code")).to_be_visible()
    session = page.locator("body").get_attribute("data-session")
    ((amr, kept),) = site.rows("SELECT amr, session FROM browsers WHERE session = ?", session)
    assert (amr, kept) == ("pop mfa", session)
    (passkey,) = site.rows("SELECT id, sign_count FROM passkeys WHERE user_name = 'demo' AND name = 'laptop'")
    assert passkey[1] == device.credentials()[0]["signCount"] > 0
    told = site.rows("SELECT actor, action FROM audit_records WHERE subject = ?", f"passkey:{passkey[0]}")
    assert told == [("demo", "passkey.add")]


def test_passkeys_are_listed_renamed_and_removed(site, at_localhost):
    """By forms with labels; a removed one signs nobody in, and each change is told."""
    guest = at_localhost()
    page = guest.sign_in(user="ada")
    Device.of(page)
    add(page, "old phone")
    assert page.evaluate(READABLE) == []
    page.get_by_label("New name of old phone").fill("new phone")
    page.get_by_role("button", name="Rename").click()
    expect(page.locator("#passkeys tbody th")).to_have_text("new phone")
    page.get_by_role("button", name="Remove new phone").click()
    expect(page.locator("#passkeys")).to_contain_text("You have none.")
    guest.sign_out()

    use(page)

    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("This passkey is not known here")
    told = site.rows("SELECT action FROM audit_records WHERE actor = 'ada' AND subject LIKE 'passkey:%' ORDER BY seq")
    assert told == [("passkey.add",), ("passkey.rename",), ("passkey.remove",)]


def test_a_copied_passkey_is_refused_and_told_as_an_alarm(site, at_localhost):
    """A thief copies the key; after the owner used theirs, the copy's count has not gone up: refused."""
    site.add_user("cleo")
    owner = at_localhost()
    page = owner.sign_in(user="cleo")
    device = Device.of(page)
    add(page, "stolen")
    (copy,) = device.credentials()
    for _ in range(2):
        owner.sign_out()
        use(page)
        page.wait_for_url("**/web/jobs")

    thief = at_localhost().page
    thief.goto("/web/sign-in")
    Device.of(thief).put(copy)
    use(thief)

    expect(thief.get_by_role("alert").filter(visible=True)).to_contain_text("This passkey is not known here")
    assert thief.request.get("/web/jobs", max_redirects=0).status == 303
    query = "SELECT actor, action, text FROM audit_records WHERE outcome = 'alarm' AND actor = 'cleo'"
    assert [(actor, action) for actor, action, _ in site.rows(query)] == [("cleo", "sign-in")]
    owner.sign_out()
    use(page)
    page.wait_for_url("**/web/jobs")


def test_an_answer_counts_once(at_localhost):
    """The whole request of a good sign-in, sent again with the cookie and the form that it had, signs nobody in."""
    guest = at_localhost()
    page = guest.sign_in()
    Device.of(page)
    add(page, "once")
    guest.sign_out()
    page.wait_for_selector("form#passkey:visible")
    (cookie,) = page.context.cookies()
    with page.expect_request("**/web/passkeys/sign-in") as sent:
        use(page)
    form = dict(parse_qsl(sent.value.post_data, keep_blank_values=True))
    page.wait_for_url("**/web/jobs")

    other = at_localhost().page
    other.context.add_cookies([cookie])
    again = other.request.post("/web/passkeys/sign-in", form=form, max_redirects=0)

    assert again.status == 404
    assert "asked for no passkey" in again.text()


def test_a_device_that_verifies_nobody_adds_nothing(at_localhost):
    """The page says so; whoever just holds a device is not its owner."""
    page = at_localhost().sign_in()
    Device.of(page, verifies=False)
    page.goto("/web/account")
    before = page.locator("#passkeys tbody tr").count()
    page.get_by_label("Name of this device").fill("found on a train")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("No passkey was used")
    page.reload()
    assert page.locator("#passkeys tbody tr").count() == before


def test_at_an_address_the_page_says_where_passkeys_work(site, visitor):
    """127.0.0.1 is no site for a passkey, so none is offered there, and the account's page leads to localhost."""
    guest = visitor()
    page = guest.page
    page.goto("/web/sign-in")
    expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
    guest.sign_in("/web/account")
    port = site.url.rpartition(":")[2]
    link = page.get_by_role("link", name=f"http://localhost:{port}")
    expect(link).to_have_attribute("href", f"http://localhost:{port}/web/account")
    expect(page.get_by_role("button", name="Add a passkey")).to_be_hidden()


def test_browsers_are_listed_and_ended(site, visitor):
    """One from another, then all others; what ended may look no more, and its key signs no more."""
    site.add_user("dora")
    guests = [visitor(user_agent=f"Browser {number}") for number in range(3)]
    pages = [guest.sign_in(user="dora") for guest in guests]
    session = pages[1].locator("body").get_attribute("data-session")
    mine = pages[0]
    mine.goto("/web/account")
    rows = mine.locator("#browsers tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text="this one")).to_contain_text("Browser 0")

    rows.filter(has_text="Browser 1").get_by_role("button").click()
    expect(rows).to_have_count(2)
    assert pages[1].request.get("/web/jobs", max_redirects=0).status == 303
    assert site.rows("SELECT revoked_at IS NOT NULL FROM sessions WHERE id = ?", session) == [(1,)]
    mine.get_by_role("button", name="End all others").click()
    expect(rows).to_have_count(1)
    assert pages[2].request.get("/web/jobs", max_redirects=0).status == 303
    told = site.rows("SELECT count(*) FROM audit_records WHERE actor = 'dora' AND action = 'sign-out'")
    assert told == [(2,)]


def test_nobody_ends_or_removes_what_is_anothers(site, at_localhost, visitor):
    """A browser's or a passkey's id of somebody else is not known."""
    guest = at_localhost()
    page = guest.sign_in()
    Device.of(page)
    add(page, "mine")
    ((passkey,),) = site.rows("SELECT id FROM passkeys WHERE name = 'mine'")
    ((browser,),) = site.rows("SELECT substr(cookie_hash, 1, 16) FROM browsers ORDER BY created_at DESC LIMIT 1")
    other = visitor().sign_in(user="ada")
    token = other.locator(".who [name=token]").get_attribute("value")

    for path in (f"/web/passkeys/{passkey}", f"/web/account/browsers/{browser}/end"):
        answer = other.request.post(path, form={"token": token, "do": "remove"}, max_redirects=0)
        assert answer.status == 404, path
    assert page.request.get("/web/account", max_redirects=0).status == 200
    assert site.rows("SELECT name FROM passkeys WHERE id = ?", passkey) == [("mine",)]
