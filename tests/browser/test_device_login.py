"""`burst login --device`, approved, refused or left alone in a real Chromium (RFC 8628)."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from gateway_site import Site, eventually
from playwright.sync_api import expect

from gateway.identity.devices import APPROVAL_TYPE
from gateway.identity.key_ring import verify_with
from gateway.identity.keys import read_public, thumbprint

pytestmark = pytest.mark.timeout(300)


@dataclass
class Login:
    """A running `burst login --device`, whose stderr is a terminal."""

    process: subprocess.Popen[bytes]
    config: Path
    screen: bytearray = field(default_factory=bytearray)

    def shown(self, pattern: str) -> str:
        """What the terminal shows of a pattern's first group, once it does."""
        match = eventually(lambda: re.search(pattern, self.screen.decode(errors="replace")), pattern)
        return match[1]

    @property
    def url(self) -> str:
        return self.shown(r"(http://\S+/web/device\?code=[A-Z]{4}-[A-Z]{4})\s")

    @property
    def code(self) -> str:
        return self.shown(r"Code\s+([A-Z]{4}-[A-Z]{4})\s")

    def ends(self) -> tuple[int, str]:
        """Its exit code and its stdout."""
        out = self.process.communicate(timeout=60)[0]
        return self.process.returncode, out.decode()


@contextmanager
def login(site: Site, name: str) -> Iterator[Login]:
    """Start it with a configuration of its own; end it if it still waits."""
    ours, theirs = pty.openpty()
    config = site.directory / "clients" / name
    command = [sys.executable, "-m", "gateway.cli", "login", site.url, "--device", "--json"]
    environment = {**site.environment(None), "BURST_CONFIG": str(config)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    running = Login(process, config)
    reader = threading.Thread(target=read_all, args=(ours, running.screen.extend), daemon=True)
    reader.start()
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)


def read_all(terminal: int, take: Callable[[bytes], None]) -> None:
    """Read a terminal until nobody writes to it any more."""
    while True:
        try:
            text = os.read(terminal, 4096)
        except OSError:  # Linux says EIO when the other side is closed
            return
        if not text:
            return
        take(text)


def test_a_login_is_approved_in_a_browser(site, visitor):
    """From the code in the terminal to a certified key, a signed `whoami`, and evidence of who approved what."""
    with login(site, "device") as waiting:
        page = visitor().sign_in(waiting.url.removeprefix(site.url))

        expect(page.get_by_role("heading", level=1)).to_have_text("Is this you?")
        facts = page.locator(".facts")
        for fact in (os.uname().nodename, "127.0.0.1", "12 h 00 min", waiting.code):
            expect(facts).to_contain_text(fact)
        expect(page.locator(".phrase")).to_have_text(waiting.shown(r"Words\s+([a-z ]+?)\s*\r?\n"))
        assert sum(waiting.screen.decode().count(block) for block in "█▀▄") > 200, "no QR code"
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Approved")

        code, out = waiting.ends()

    assert (code, json.loads(out)["user"]) == (0, "demo")
    who = site.burst("whoami", "--json", user="device").json
    assert who["user"] == "demo"
    profile = json.loads((waiting.config / "profiles/default.json").read_text())
    ((approval,),) = site.rows("SELECT approval FROM device_logins WHERE session = ?", profile["session"])
    said = json.loads(verify_with(httpx2.get(f"{site.url}/.well-known/jwks.json").json(), approval, APPROVAL_TYPE))
    key = {name: profile["key"][name] for name in ("kty", "crv", "x")}
    assert said["jkt"] == thumbprint(read_public(key))
    assert (said["sub"], said["decision"], said["address"], said["sid"]) == (
        "demo",
        "approved",
        "127.0.0.1",
        who["session"],
    )


def test_a_login_is_refused_in_a_browser(site, visitor):
    """The command ends with one line and no key; the code is not taken twice."""
    with login(site, "refused") as waiting:
        page = visitor().sign_in("/web/device")
        page.get_by_label("Code").fill(waiting.code.lower().replace("-", " "))
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("button", name="Refuse").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Refused")

        code, _ = waiting.ends()
        assert code == 1
        assert waiting.shown(r"burst: error: (The user refused this login)")
        assert not (waiting.config / "profiles").exists()
        assert page.goto(waiting.url).status == 409
        expect(page.get_by_role("alert")).to_contain_text("This login was refused already.")


def test_five_wrong_passwords_end_a_code(site, visitor):
    """Whoever guesses passwords on the way to a code uses it up; the command says so and ends."""
    with login(site, "guessed") as waiting:
        guest = visitor()
        guest.page.goto(waiting.url)
        for _ in range(5):
            guest.fill_in("mallory", "a wrong password")
            expect(guest.page.get_by_role("alert")).to_contain_text("wrong")

        guest.fill_in("demo", guest.password("demo"))
        expect(guest.page.get_by_role("alert")).to_contain_text("This code was ended after five wrong passwords.")
        code, _ = waiting.ends()
        assert code == 1
        assert waiting.shown(r"burst: error: (This code was ended)")


def test_an_approval_without_script(site, visitor):
    """Forms are enough."""
    with login(site, "plain") as waiting:
        page = visitor(java_script_enabled=False).sign_in(waiting.url.removeprefix(site.url))
        page.get_by_role("button", name="Approve").click()
        assert waiting.ends()[0] == 0


def test_an_approval_needs_the_pages_own_form(site, visitor):
    """A forged form approves nothing: the login still waits."""
    with login(site, "forged") as waiting:
        page = visitor().sign_in()
        forged = {"code": waiting.code, "decision": "approve", "token": "0" * 64}

        assert page.request.post("/web/device", form=forged).status == 403
        assert site.rows("SELECT state FROM device_logins WHERE user_code = ?", waiting.code) == [("pending",)]


def test_guessed_codes_are_soon_refused(site, visitor):
    """Five codes that do not exist are told so; then that user waits."""
    page = visitor().sign_in("/web/device", user="ada")
    statuses = [page.request.get(f"/web/device?code=BBBB-BBB{letter}").status for letter in "BCDFGH"]
    assert statuses == [404, 404, 404, 404, 404, 429]


def test_device_takes_no_password(site):
    """--device with --user or --password-file is refused before anything is asked."""
    refused = site.burst("login", site.url, "--device", "--user", "demo", user=None)
    assert refused.code == 2
    assert "--user does not go with --device" in refused.complaint
