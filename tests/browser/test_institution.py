"""Sign-in with an institution's account: a real OpenID Connect provider (canaille), a real Chromium, two sites."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from chromium import Visitor
from joserfc import jwt
from joserfc.jwk import KeySet
from playwright.sync_api import Page, Route, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from gateway.errors import Refused
from gateway.identity.id_token import read_id_token
from gateway.identity.institutions import Institution

pytestmark = pytest.mark.timeout(300)

READABLE = (Path(__file__).parent / "readable.js").read_text()
RETURN = "/web/institutions/lab/return"


@pytest.fixture
def linked(site, provider, visitor):
    """ada, who is maria at the lab and is signed in at both."""
    guest = visitor()
    show_who(guest.page, provider, "maria")
    page = guest.sign_in("/web/account", user="ada")
    if not site.rows("SELECT id FROM identities WHERE user_name = 'ada'"):
        page.get_by_role("button", name="Link an account of Example Lab").click()
        comes_to(page, "/web/account")
    return guest


def show_who(page: Page, provider, name: str) -> None:
    """Sign in on the institution's own pages."""
    if not page.url.startswith(provider.issuer):
        page.goto(f"{provider.issuer}/login")
    page.locator("[name=login]").fill(name)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{provider.issuer}/auth/password**")
    page.locator("[name=password]").fill(provider.people[name])
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/auth/password" not in url)


def caught(guest: Visitor, provider, name: str) -> str:
    """The URL that the institution sends ``name`` back to from a sign-in of this browser, not yet gone to."""
    urls: list[str] = []

    def catch(route: Route) -> None:
        urls.append(route.request.url)
        route.fulfill(status=200, content_type="text/html", body="<title>caught</title>")

    page = guest.page
    show_who(page, provider, name)
    page.goto("/web/sign-in")
    page.route(f"{provider.issuer}/oauth/authorize**", catch)
    page.get_by_role("button", name="Continue with Example Lab").click()
    page.wait_for_url(f"{provider.issuer}/oauth/authorize**")
    page.unroute(f"{provider.issuer}/oauth/authorize**")
    return str(page.request.get(urls[0], max_redirects=0).headers["location"])


def comes_to(page: Page, path: str) -> None:
    """The browser ends up there; if not, say what it shows instead."""
    try:
        page.wait_for_url(lambda url: urlsplit(url).path == path)
    except PlaywrightTimeout:
        pytest.fail(f"{urlsplit(page.url).path}: {page.inner_text('body')}")


def refused(page: Page, url: str, words: str, status: int = 403) -> None:
    """The address leads to a page that says so, and to no sign-in."""
    assert page.goto(url).status == status
    expect(page.get_by_role("alert")).to_contain_text(words)
    assert page.request.get("/web/jobs", max_redirects=0).status == 303


def test_an_account_is_linked_and_signs_in(site, provider, linked):
    """A signed-in user links it; from then on the institution's sign-in is theirs, with a key that is certified."""
    page = linked.page
    expect(page.locator("#institutions tbody tr")).to_contain_text("maria@lab.example")
    assert page.evaluate(READABLE) == []
    linked.sign_out()

    page.get_by_role("button", name="Continue with Example Lab").click()
    comes_to(page, "/web/jobs")

    expect(page.get_by_role("link", name="Account of ada")).to_be_visible()
    session = page.locator("body").get_attribute("data-session")
    assert site.rows("SELECT amr FROM browsers WHERE session = ?", session) == [("institution:lab",)]
    assert site.rows("SELECT issuer, subject, user_name FROM identities") == [(provider.issuer, "maria", "ada")]
    told = site.rows("SELECT action FROM audit_records WHERE actor = 'ada' AND subject LIKE 'identity:%'")
    assert told == [("identity.link",)]
    (cookie,) = [each for each in page.context.cookies(site.url + "/web/jobs") if each["name"] == "burst_web"]
    assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)
    assert page.context.cookies(site.url + RETURN) == [cookie], "the cookie of the way is gone"


def test_the_way_to_a_login_asks_for_a_fresh_proof(provider, linked):
    """Who comes to approve a login proves it to the institution minutes ago, and may approve."""
    page = linked.page
    linked.sign_out()
    page.goto("/web/device")
    with page.expect_request(f"{provider.issuer}/oauth/authorize**") as asked:
        page.get_by_role("button", name="Continue with Example Lab").click()
    comes_to(page, "/web/device")

    query = parse_qs(urlsplit(asked.value.url).query)
    assert query["max_age"] == ["540"]
    assert query["code_challenge_method"] == ["S256"]
    expect(page.get_by_label("Code")).to_be_visible()


def test_somebody_unknown_is_refused(site, provider, visitor):
    """The institution knows them, the gateway does not; it says what to do, and makes no user."""
    guest = visitor()
    url = caught(guest, provider, "nobody")

    refused(guest.page, url, "This account of Example Lab is not linked to a user here.")

    assert site.rows("SELECT name FROM users WHERE name = 'nobody'") == []
    told = site.rows("SELECT outcome FROM audit_records WHERE actor = 'institution:lab' AND action = 'sign-in'")
    assert ("refused",) in told


def test_a_wrong_state_is_refused(provider, linked, visitor):
    """Also of a good code."""
    guest = visitor()
    url = caught(guest, provider, "maria")
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}

    wrong = urlencode({**query, "state": secrets.token_urlsafe(32)})
    refused(guest.page, f"{RETURN}?{wrong}", "not begun in this browser")
    refused(guest.page, RETURN, "not begun in this browser")


def test_an_answer_is_taken_once_and_in_the_browser_that_asked(provider, linked, visitor):
    """Another browser gets nothing from it, and uses it up; so does the first answer, for the second."""
    guest, thief = visitor(), visitor()
    refused(thief.page, caught(guest, provider, "maria"), "not begun in this browser")

    other = visitor()
    url = caught(other, provider, "maria")
    page = other.page
    page.goto(url)
    comes_to(page, "/web/jobs")
    assert page.goto(url).status == 403
    expect(page.get_by_role("alert")).to_contain_text("not begun in this browser")


def test_a_code_that_was_not_given_is_refused(provider, linked, visitor):
    """An invented code, in an answer to a sign-in of this browser: the institution does not take it, nor do we."""
    guest = visitor()
    mine = caught(guest, provider, "maria")
    query = {name: values[0] for name, values in parse_qs(urlsplit(mine).query).items()}
    query["code"] = query["code"][::-1]

    answer = guest.page.request.get(f"{RETURN}?{urlencode(query)}")

    assert answer.status == 403, answer.text()
    assert "does not accept this sign-in&#39;s code" in answer.text()


def test_an_answer_of_another_issuer_is_refused(provider, linked, visitor):
    """The answer says whose it is (RFC 9207); another's, or nobody's, is not mixed up with the one that was asked."""
    for named in ({"iss": "https://evil.example"}, {}):
        guest = visitor()
        url = caught(guest, provider, "maria")
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items() if name != "iss"}
        refused(guest.page, f"{RETURN}?{urlencode(query | named)}", "This answer is not Example Lab's.")


def test_who_was_sent_back_with_an_error_reads_it(provider, visitor):
    """The institution's own code of it, and nothing else that somebody put into the address."""
    guest = visitor()
    query = {
        name: values[0]
        for name, values in parse_qs(urlsplit(caught(guest, provider, "nobody")).query).items()
        if name != "code"
    }
    refused(
        guest.page, f"{RETURN}?{urlencode(query | {'error': 'access_denied'})}", "did not sign you in: access_denied"
    )


def test_w19_a_token_for_another_client_signs_nobody_in(provider, visitor):
    """A real token of the real institution, got by another of its clients: well signed, and not for this gateway.

    Naive, as in W19: whoever is registered, as anything, vouches for users; a good signature is enough.
    """
    token, nonce = token_of_another_client(visitor().page, provider)
    keys = httpx2.get(f"{provider.issuer}/oauth/jwks.json").json()
    lab = Institution("lab", "Example Lab", provider.issuer, "burst", lambda: "")
    other = Institution("lab", "Example Lab", provider.issuer, "other", lambda: "")
    now = datetime.now(UTC)

    assert naive_user(token, keys) == "maria"
    with pytest.raises(Refused, match="for somebody else, not for this gateway"):
        read_id_token(token, lab, keys, nonce, now)
    assert read_id_token(token, other, keys, nonce, now).subject == "maria", "all else about it is good"


def naive_user(token: str, keys: dict[str, object]) -> str:
    """Whoever a well-signed token names."""
    return str(jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256", "RS384", "RS512"]).claims["sub"])


def token_of_another_client(page: Page, provider) -> tuple[str, str]:
    """What the client "other" receives when maria signs in to it, and the nonce that it asked with."""
    client, nonce = provider.clients[1], secrets.token_urlsafe(16)
    show_who(page, provider, "maria")
    query = {"response_type": "code", "client_id": client.id, "redirect_uri": client.redirect_uri, "nonce": nonce}
    url = f"{provider.issuer}/oauth/authorize?{urlencode({**query, 'scope': 'openid', 'state': 's'})}"
    back = page.request.get(url, max_redirects=0).headers["location"]
    form = {"grant_type": "authorization_code", "redirect_uri": client.redirect_uri}
    form["code"] = parse_qs(urlsplit(back).query)["code"][0]
    answer = httpx2.post(f"{provider.issuer}/oauth/token", data=form, auth=(client.id, client.secret))
    assert answer.status_code == 200, answer.text
    return answer.json()["id_token"], nonce


def test_a_linked_account_is_unlinked(site, provider, visitor):
    """A form does it; then the institution's sign-in leads to nobody here."""
    site.add_user("emil")
    guest = visitor()
    page = guest.sign_in("/web/account", user="emil")
    page.get_by_role("button", name="Link an account of Example Lab").click()
    page.wait_for_url(f"{provider.issuer}/login**")  # by the way itself, not before
    show_who(page, provider, "nobody")
    comes_to(page, "/web/account")
    page.get_by_role("button", name="Unlink Example Lab").click()
    expect(page.locator("#institutions tbody tr")).to_have_count(0)
    assert site.rows("SELECT count(*) FROM identities WHERE user_name = 'emil'") == [(0,)]
