"""Logins that a person approves in a browser, over HTTP, with pages but without a screen (RFC 8628)."""

from __future__ import annotations

import json
import secrets
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from http_door import API, problem_of
from logins import Web, new_person

from gateway.client import sign_in
from gateway.client.device import DeviceLogin
from gateway.client.session import Session
from gateway.errors import CodeExpired, TooManyTries
from gateway.identity import devices
from gateway.identity.devices import APPROVAL_TYPE, LIFETIME, MOST_TRIES
from gateway.identity.key_ring import verify_with
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.phrase import phrase
from gateway.identity.throttle import CODES, Throttle
from gateway.storage.database import Database
from gateway.storage.tables import device_logins

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def person(door):
    """Who approves."""
    return new_person(door, "approver")


def begin(door, *scopes, host="laptop"):
    """A client's login that waits: what it was told, and its key."""
    key = make_key()
    facts = {"public_key": public_jwk(key), "host": host, "scopes": list(scopes)}
    answer = door.http.post(f"{API}/device", json=facts)
    assert answer.status_code == 201, answer.text
    return answer.json(), key


def poll(door, asked):
    """What became of it."""
    return door.http.post(f"{API}/device/token", json={"device_code": asked["device_code"]})


def page_of(asked):
    """Its page at the gateway."""
    return f"/web/device?code={asked['user_code']}"


def decide(web, asked, *ticked, decision="approve"):
    """Look at the page, leave ``ticked`` ticked, and decide."""
    shown = web.http.get(page_of(asked))
    assert shown.status_code == 200, shown.text
    ticks = {f"may.{scope}": "on" for scope in ticked}
    return web.send("/web/device", shown.text, {"code": asked["user_code"], "decision": decision, **ticks})


def alter(door, asked, **facts):
    """Change what is stored of a login, as time would."""
    database = Database(door.settings.database_url)
    with database.begin() as connection:
        connection.execute(
            device_logins.update().where(device_logins.c.user_code == asked["user_code"]).values(**facts)
        )
    database.close()


def test_f02_a_login_is_approved_in_another_browser_by_its_code(door, person):
    """F02: A asks, B approves what it sees, A is logged in; the words are the key's on both sides."""
    asked, key = begin(door, "jobs:read", "storage:read", host="notebook-7")
    problem_of(poll(door, asked), 400, "authorization_pending")
    web = person.browse(page_of(asked))
    shown = unescape(web.http.get(page_of(asked)).text)

    for told in (phrase(key), "notebook-7", "127.0.0.1", asked["user_code"], "see your jobs", "storage:read"):
        assert told in shown, told
    assert "jobs:write" not in shown
    done = decide(web, asked, "jobs:read", "storage:read")

    assert done.status_code == 200
    alter(door, asked, polled_at=None)
    session = poll(door, asked).json()
    assert (session["user"], session["scopes"]) == (person.name, ["jobs:read", "storage:read"])
    database = Database(door.settings.database_url)
    with database.read() as connection:
        query = device_logins.select().where(device_logins.c.user_code == asked["user_code"])
        approval = connection.execute(query).one().approval
    database.close()
    said = json.loads(verify_with(door.http.get("/.well-known/jwks.json").json(), approval, APPROVAL_TYPE))
    assert (said["scope"], said["scope_asked"], said["sid"]) == (
        "jobs:read storage:read", "jobs:read storage:read", session["id"],
    )  # fmt: skip


def test_f02_a_code_is_dead_after_its_time(door, person):
    """F02: ten minutes after it was asked for, neither side can use it."""
    asked, _ = begin(door)
    web = person.browse()
    alter(door, asked, expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert web.http.get(page_of(asked)).status_code == 410
    problem_of(poll(door, asked), 400, "expired_token")
    assert asked["expires_in"] == LIFETIME.total_seconds() == 600


def test_f02_a_code_is_dead_after_five_bad_tries(door, person):
    """F02: five wrong passwords on the way to it end it, for whoever comes with the right one too."""
    asked, _ = begin(door)
    web = Web.at(door)
    statuses = [web.sign_in("f02-guesser", "wrong", page_of(asked)).status_code for _ in range(5)]

    assert statuses == [403] * 5
    assert person.browse(page_of(asked)).http.get(page_of(asked)).status_code == 410
    problem_of(poll(door, asked), 400, "expired_token")


def test_the_approver_narrows_and_never_widens(door, person):
    """What is not ticked is not given; what was not asked for is refused, and so is nothing at all."""
    asked, _ = begin(door, "jobs:read", "jobs:write")
    web = person.browse()

    assert decide(web, asked, "jobs:read", "money:write").status_code == 403
    assert decide(web, asked).status_code == 403
    problem_of(poll(door, asked), 400, "authorization_pending")
    assert decide(web, asked, "jobs:read").status_code == 200

    alter(door, asked, polled_at=None)
    assert poll(door, asked).json()["scopes"] == ["jobs:read"]


def test_an_unknown_scope_is_refused_at_once(door):
    """The client is told which, before a code is made."""
    facts = {"public_key": public_jwk(make_key()), "host": "laptop", "scopes": ["jobs:rule"]}
    assert "jobs:rule" in problem_of(door.http.post(f"{API}/device", json=facts), 422, "invalid_request").detail


def test_a_notebook_logs_in(door, person, tmp_path, monkeypatch):
    """The cell shows page, QR code, code and words, and no secret; when it is approved the login is kept."""
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path))
    begun = []
    inner = DeviceLogin.begin
    monkeypatch.setattr(sign_in.DeviceLogin, "begin", lambda *a, **how: begun.append(inner(*a, **how)) or begun[-1])
    shown = []
    monkeypatch.setattr(sign_in, "display", lambda html, **_how: shown.append(html.data))
    web = person.browse()

    def approve():
        asked = begun[0].asked
        decide(web, {"user_code": asked.user_code}, "jobs:read")

    waited = DeviceLogin.wait

    def wait(self):
        approver = threading.Thread(target=approve)
        approver.start()
        approver.join()
        return waited(self)

    monkeypatch.setattr(sign_in.DeviceLogin, "wait", wait)
    session = sign_in.login(door.url, scopes=("jobs:read",))

    assert session.profile.user == person.name
    with Session.saved() as kept:
        assert kept.profile.session == session.profile.session
    assert "<svg" in shown[0]
    assert begun[0].phrase in shown[0]
    assert begun[0].asked.user_code in shown[0]
    assert begun[0].asked.device_code not in shown[0]
    assert session.profile.key["d"] not in shown[0]


def test_w14_a_short_code_is_no_way_in(door, person):
    """W14: a pending login of 32 bits without end or limit can be found by trying; ours ends, and the tries end."""
    pending = {uuid.uuid4().hex[:8]: "victim" for _ in range(1 << 10)}
    naive_tries = 0

    def naive_login(short_id, _now):
        """Acquire's way: all that match, whenever, as often as one likes."""
        nonlocal naive_tries
        naive_tries += 1
        return [user for code, user in pending.items() if code.startswith(short_id)]

    a_year_later = NOW + timedelta(days=365)
    found = [code for code in (f"{number:03x}" for number in range(1 << 12)) if naive_login(code, a_year_later)]
    assert found, "pending logins were found a year later"
    assert naive_tries == 1 << 12, "and nobody stopped the tries"

    login, code = devices.begin(public_jwk(make_key()), "laptop", "", NOW)
    assert len(code) >= 43  # what the client asks with: 256 bits, and only its digest is kept
    with pytest.raises(CodeExpired):
        devices.undecided(login, a_year_later)
    with pytest.raises(CodeExpired):
        devices.undecided(replace(login, tries=MOST_TRIES), NOW)
    throttle = Throttle()
    for _ in range(5):
        throttle.count(CODES, "attacker")
    with pytest.raises(TooManyTries):
        throttle.count(CODES, "attacker")

    web = person.browse()
    guesses = ["".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(8)) for _ in range(6)]
    assert [web.http.get(f"/web/device?code={guess}").status_code for guess in guesses] == [404] * 5 + [429]
