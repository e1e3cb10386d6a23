"""The web pages in a real Chromium before a real gateway: jobs, nodes, money, and who may see and do what."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

PAGES = ("/web/jobs", "/web/shared", "/web/nodes", "/web/money", "/web/sessions", "/web/device", "/web/account")
COUNT = "for i in 1 2 3; do echo step $i; sleep 1; done; echo 42 > answer.txt"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def ended(site):
    """A job that has been through everything."""
    return site.finish(site.submit(COUNT, "--job-name=counted", "--time=1"))


def mark(page: Page) -> None:
    """Leave a mark that a reload would wipe out."""
    page.evaluate("window.marked = true")


def marked(page: Page) -> bool:
    return bool(page.evaluate("window.marked === true"))


def test_a_job_of_the_command_appears_and_changes_without_reload(site, visitor, tmp_path):
    """The list is open; `burst submit` runs; the job shows up in it, waits, runs and is completed."""
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH --job-name=live --time=1\n{COUNT}\n")
    page = visitor().sign_in()
    mark(page)

    answer = site.burst("submit", "--json", str(script)).json

    row = page.locator(f"#job-{answer['burst_id']}")
    expect(row.get_by_role("link")).to_have_text(f"{answer['id']} live", timeout=60_000)
    expect(row.locator(".badge")).to_have_text("completed", timeout=120_000)
    assert marked(page)


def test_a_jobs_page_follows_it_to_its_receipt_and_files(site, visitor):
    """One page, never reloaded: it waits, runs, prints, ends; then its receipt and its files are there."""
    guest = visitor()
    page = guest.sign_in()
    job = site.submit(COUNT, "--job-name=followed", "--time=1")
    page.goto(f"/web/jobs/{job.id}")
    mark(page)

    expect(page.locator(".journey [aria-current=step] .name")).to_have_text("Running", timeout=120_000)
    expect(page.locator("#job_output")).to_contain_text("step 1", timeout=60_000)
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible(timeout=120_000)
    expect(page.locator(".journey .done")).to_have_count(6)
    expect(page.locator("#job_output")).to_contain_text("step 3", timeout=60_000)
    assert marked(page)

    receipt = guest.site.login().receipt(job.burst_id)
    expect(page.locator("#job_live")).to_contain_text(receipt.number)
    with page.expect_download() as download:
        page.get_by_role("link", name="answer.txt").click()
    assert download.value.suggested_filename == "answer.txt"
    assert Path(download.value.path()).read_text() == "42\n"


def test_why_is_my_job_waiting(site, visitor):
    """A held job says what its owner can do; one behind it says whom it waits for, and why that one waits."""
    held = site.submit("true", "--hold", "--job-name=held")
    behind = site.submit("true", f"--dependency=afterok:{held.id}", "--job-name=behind")
    page = visitor().sign_in(f"/web/jobs/{held.id}")
    why = page.locator(".why")

    expect(why.get_by_role("heading")).to_have_text("Why is my job waiting?")
    expect(why.locator(".sentence")).to_have_text(f"Held by its owner: release it with scontrol release {held.id}.")

    page.goto(f"/web/jobs/{behind.id}")
    expect(why.locator(".sentence")).to_contain_text("Waiting for the jobs of its --dependency")
    expect(why).to_contain_text(f"It waits for {held.id} held pending Held by its owner")
    site.slurm("scontrol", "release", str(held.id))
    expect(page.locator(".state .badge")).to_have_text("completed", timeout=120_000)
    expect(why).to_have_count(0)


def test_a_browser_cancels_with_a_key_of_its_own(site, visitor):
    """Cancel asks first, then the request is signed in the browser, and its signature is kept as evidence."""
    job = site.submit("sleep 600", "--hold")
    guest = visitor()
    page = guest.sign_in(f"/web/jobs/{job.id}")
    button = page.get_by_role("button", name="Cancel the job")

    button.click()
    page.get_by_role("button", name="Let it run").click()
    assert site.login().job(job.burst_id).state == "PENDING"
    button.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()

    expect(page.locator(".state .badge")).to_have_text("cancelled", timeout=120_000)
    expect(page.locator(".timeline")).to_contain_text("demo cancelled it")
    session = page.locator("body").get_attribute("data-session")
    path = f"/api/v1/jobs/{job.burst_id}/cancel"
    assert site.rows("SELECT kid, method FROM evidence WHERE path = ?", path) == [(session, "POST")]
    readable = "async () => (await inStore('readonly', (store) => store.getAll()))[0].extractable"
    assert page.evaluate(readable) is False


def test_nodes_show_what_happens_to_them(site, visitor):
    """The page is open; a job brings a node up and it appears, with its events and the job that is on it."""
    page = visitor().sign_in("/web/nodes")
    mark(page)

    job = site.submit("sleep 600", "--exclusive")

    # Its own node: one that has just ended an earlier test's job may still be shown as busy.
    mine = page.locator(".card", has=page.get_by_role("link", name=str(job.id), exact=True))
    busy = mine.filter(has=page.locator(".badge.busy"))
    expect(busy).to_have_count(1, timeout=120_000)
    busy.get_by_text("What happened").click()
    expect(busy.locator(".timeline")).to_contain_text("booting")
    site.login().cancel(job.id)
    expect(busy).to_have_count(0, timeout=120_000)
    assert marked(page)


def test_money_is_drawn_and_said(ended, site, visitor):
    """The plot has a line in its colour; the table beside it has the ledger's figures."""
    page = visitor().sign_in("/web/money")
    canvas = page.locator("#plot canvas")
    expect(canvas).to_be_visible()

    coloured = canvas.evaluate("""canvas => {
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let count = 0;
        for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] > 200 && data[at] < 60 && data[at + 1] > 90 && data[at + 2] > 80) count += 1;
        }
        return count;
    }""")
    assert coloured > 200

    receipt = site.login().receipt(ended.burst_id)
    row = page.locator("#history tr", has=page.get_by_role("link", name=f"{ended.id} counted"))
    charged = f"{receipt.charged_ucr / 1e6:.6f}".rstrip("0")
    expect(row.locator("td").nth(1)).to_have_text(f"\N{MINUS SIGN}{charged}")
    total = sum(
        row[0] for row in site.rows("SELECT charged_ucr FROM holds WHERE account = 'demo' AND state = 'settled'")
    )
    assert int(page.locator("#history tbody tr").last.get_attribute("data-spent")) == total


@pytest.mark.parametrize("path", [*PAGES, "/web/jobs/1", "/web/jobs/1/file?path=answer.txt", "/web/"])
def test_nobody_looks_without_signing_in(site, visitor, path):
    """Every page leads to the sign-in page; a cookie that was never given is no better than none."""
    page = visitor().page
    page.context.add_cookies([{"name": "burst_web", "value": "x" * 43, "url": f"{site.url}/web"}])
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_somebody_elses_job_is_not_there(ended, visitor):
    """Ada sees neither demo's job nor its account; the page does not say that they exist."""
    page = visitor().sign_in(user="ada")

    assert page.goto(f"/web/jobs/{ended.id}").status == 404
    expect(page.get_by_role("alert")).to_contain_text(f"There is no job {ended.id}.")
    assert page.goto("/web/money?account=demo").status == 403
    page.goto("/web/jobs")
    expect(page.locator(".empty")).to_contain_text("You have no jobs yet.")


def test_signing_out_ends_the_cookie_and_the_key(site, visitor):
    """After that neither the old cookie nor the browser's key opens anything."""
    page = visitor().sign_in()
    session, cookies = page.locator("body").get_attribute("data-session"), page.context.cookies()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")

    page.context.add_cookies(cookies)
    page.goto("/web/jobs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert site.rows("SELECT revoked_at IS NOT NULL FROM sessions WHERE id = ?", session) == [(1,)]


def test_six_wrong_passwords_are_too_many(site, visitor):
    """Five are told that they are wrong; then even the right one waits, here and at the API."""
    guest = visitor()
    site.add_user("eve")
    guest.page.goto("/web/sign-in")
    for _ in range(5):
        guest.fill_in("eve", "wrong password")
        expect(guest.page.get_by_role("alert")).to_contain_text("The user name or the password is wrong.")

    with guest.page.expect_response("**/web/sign-in") as answer:
        guest.fill_in("eve", guest.password("eve"))

    assert answer.value.status == 429
    assert 0 < int(answer.value.headers["retry-after"]) <= 600
    expect(guest.page.get_by_role("alert")).to_contain_text("There were too many tries")
    password_file = str(site.directory / "secrets/eve.password")
    refused = site.burst("login", site.url, "--user", "eve", "--password-file", password_file, user=None)
    assert refused.code == 1
    assert "too many tries" in refused.complaint


def test_a_forged_form_is_refused(site, visitor):
    """A form without the page's token, with another's, or from another site does nothing, cookie or not."""
    page = visitor().sign_in()
    other = visitor().sign_in(user="ada")
    stolen = other.locator(".who [name=token]").get_attribute("value")
    own = page.locator(".who [name=token]").get_attribute("value")

    for form, headers in (
        ({}, {}),
        ({"token": "0" * 64}, {}),
        ({"token": stolen}, {}),
        ({"token": own}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        answer = page.request.post("/web/sign-out", form=form, headers=headers, max_redirects=0)
        assert answer.status == 403, form
    assert page.request.get("/web/jobs", max_redirects=0).status == 200


def test_the_cookie_is_for_the_pages_alone(ended, visitor):
    """It is out of scripts' reach and other sites' requests, and the API takes no cookie."""
    page = visitor().sign_in()
    (cookie,) = page.context.cookies()

    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/web")
    answer = page.request.post(
        f"/api/v1/jobs/{ended.id}/cancel", headers={"Cookie": f"burst_web={cookie['value']}"}, data={}
    )
    assert answer.status == 401


def test_a_sign_in_leads_nowhere_else(visitor):
    """A link that wants to lead on to another site leads to the jobs."""
    guest = visitor()
    for target in ("https://evil.example/web/", "//evil.example/web/", "/web/\\evil.example", "javascript:alert(1)"):
        guest.page.goto(f"/web/sign-in?next={target}")
        forms = guest.page.locator("[name=next]").all()
        assert {form.get_attribute("value") for form in forms} == {"/web/jobs"}


def test_headers_forbid_what_no_page_needs(visitor):
    """No inline script or style, no frames, no copies in caches, for pages and refusals alike."""
    page = visitor().page
    for path in ("/web/sign-in", "/web/nowhere", "/web/static/burst.css"):
        headers = page.request.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert page.request.get("/web/sign-in").headers["cache-control"] == "no-store"


def test_without_script_one_looks_all_the_same(ended, visitor):
    """Sign-in, list, job and money are there; only what a key must sign is not offered."""
    page = visitor(java_script_enabled=False).sign_in(f"/web/jobs/{ended.id}")

    expect(page.get_by_role("heading", level=1)).to_have_text(f"{ended.id} counted")
    expect(page.locator(".timeline")).to_contain_text("settled")
    expect(page.get_by_role("button", name="Cancel the job")).to_have_count(0)
    page.goto("/web/money")
    expect(page.locator("#history")).to_contain_text("UTC")


READABLE = (Path(__file__).parent / "readable.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_by_everybody(ended, site, visitor, scheme):
    """Each page: one main heading, no level left out, names for all that can be used, contrast of WCAG AA."""
    held = site.submit("true", "--hold")
    guest = visitor(color_scheme=scheme)
    page = guest.page
    page.goto("/web/sign-in")
    assert page.evaluate(READABLE) == []
    guest.sign_in()
    for path in (*PAGES, f"/web/jobs/{ended.id}", f"/web/jobs/{held.id}", "/web/jobs/999", "/web/jobs?state=TIMEOUT"):
        page.goto(path)
        assert page.evaluate(READABLE) == [], path
    site.login().cancel(held.id)


def test_a_phone_shows_all_without_sideways_scrolling(ended, visitor):
    """At 360 pixels nothing is wider than the screen."""
    page = visitor(viewport={"width": 360, "height": 740}).sign_in()
    for path in (*PAGES, f"/web/jobs/{ended.id}"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_the_keyboard_is_enough(ended, visitor):
    """Tab reaches the skip link first, then all the rest; Enter follows it to the content."""
    page = visitor().sign_in()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".chips a").first).to_be_focused()
