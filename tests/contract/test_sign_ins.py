"""Sign-ins of browsers, device logins and an account's charges, on every database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.accounting.ledger import AccountKind
from gateway.errors import Conflict, NotFound
from gateway.identity import devices
from gateway.identity.browsers import Browser, cookie_hash
from gateway.identity.devices import DeviceState
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.sessions import new_session
from gateway.identity.users import Role, User
from gateway.storage.work import SqlWork

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ADA = User("ada", Role.USER, "ada")
LATER = NOW + timedelta(days=2)


@pytest.fixture
def known(database):
    """A database that knows ada and a session of hers."""
    session = new_session(ADA, public_jwk(make_key()), NOW, timedelta(hours=12))
    with database.begin() as connection:
        work = SqlWork(connection)
        work.ledger.open_account("ada", AccountKind.USER)
        work.users.add(ADA, "hash", NOW)
        work.sessions.add(session)
    return database, session


def test_a_device_login_is_kept_and_decided_once(known):
    """By either code; a second decision, made on what was true before the first, is a conflict."""
    database, session = known
    login, code = devices.begin(public_jwk(make_key()), "laptop", "192.0.2.7", NOW)
    with database.begin() as connection:
        SqlWork(connection).devices.add(login)

    decided = {"user": "ada", "decided_at": NOW, "approval": "statement"}
    approved = replace(login, state=DeviceState.APPROVED, session=session.id, **decided)
    refused = replace(login, state=DeviceState.REFUSED, **decided)
    with database.begin() as connection:
        SqlWork(connection).devices.record(login, approved)
    with database.begin() as connection, pytest.raises(Conflict):
        SqlWork(connection).devices.record(login, refused)

    with database.begin() as connection:
        kept = SqlWork(connection).devices
        assert kept.of_user(login.user_code) == approved
        assert kept.of_client(devices.code_hash(code)) == approved
        with pytest.raises(NotFound):
            kept.of_user("BBBB-BBBB")


def test_a_user_code_is_in_use_once(known):
    """A second login of the same code is a conflict."""
    database, _ = known
    one, other = (devices.begin(public_jwk(make_key()), "laptop", "", NOW)[0] for _ in range(2))
    with database.begin() as connection:
        kept = SqlWork(connection).devices
        kept.add(one)
        with pytest.raises(Conflict):
            kept.add(replace(other, user_code=one.user_code))


def test_decisions_are_kept_and_dead_codes_forgotten(known):
    """A day after its end a code that nobody decided about is gone; a refusal stays."""
    database, _ = known
    dead, refused = (devices.begin(public_jwk(make_key()), "laptop", "", NOW)[0] for _ in range(2))
    with database.begin() as connection:
        kept = SqlWork(connection).devices
        kept.add(dead)
        kept.add(refused)
        decided = replace(refused, state=DeviceState.REFUSED, user="ada", decided_at=NOW, approval="statement")
        kept.record(refused, decided)

        assert kept.forget(NOW + timedelta(hours=1)) == 0
        assert kept.forget(LATER) == 1
        assert kept.of_user(refused.user_code) == decided


def test_a_browser_is_kept_by_its_cookies_digest_and_ended_once(known):
    """Its end keeps the first time; long after its time it is forgotten."""
    database, session = known
    browser = Browser(cookie_hash("c"), "ada", "192.0.2.7", "Firefox", NOW, NOW + timedelta(hours=12), session.id)
    with database.begin() as connection:
        browsers = SqlWork(connection).browsers
        browsers.add(browser)
        assert browsers.get(cookie_hash("c")) == browser
        browsers.end(browser.cookie_hash, NOW)
        browsers.end(browser.cookie_hash, LATER)
        assert browsers.get(browser.cookie_hash).ended_at == NOW
        with pytest.raises(NotFound):
            browsers.get(cookie_hash("d"))
        assert (browsers.forget(NOW), browsers.forget(LATER)) == (0, 1)


def test_an_account_without_jobs_was_charged_nothing(known):
    """No charge, and no error."""
    database, _ = known
    with database.read() as connection:
        assert SqlWork(connection).spending.of("ada", 10) == ()
