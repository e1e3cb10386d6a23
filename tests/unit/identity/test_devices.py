"""Device logins by the clock: pending, too early, approved, refused, expired, used up; and what is said of a key."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import ApprovalPending, ApprovalRefused, CodeExpired, Conflict, InvalidRequest, SlowDown
from gateway.identity import devices
from gateway.identity.browsers import Browser
from gateway.identity.devices import APPROVAL_TYPE, LIFETIME, DeviceState, statement
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import make_key, public_jwk, thumbprint
from gateway.identity.phrase import WORDS, phrase
from gateway.identity.scopes import Scope
from gateway.identity.users import Role, User

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = make_key()
ADA = User("ada", Role.USER, "ada")


@pytest.fixture
def login():
    """A login that somebody has just asked for."""
    return devices.begin(public_jwk(KEY), "laptop", "192.0.2.7", NOW)[0]


def outcome(login, after_s=2.0, *, early=False):
    return devices.outcome(login, NOW + timedelta(seconds=after_s), early=early)


def test_only_a_digest_of_the_clients_code_is_kept():
    """The code itself is told once and is in nothing that is stored."""
    login, code = devices.begin(public_jwk(KEY), "laptop", "192.0.2.7", NOW)

    assert login.code_hash == devices.code_hash(code)
    assert code not in repr(login)


def test_user_codes_differ_and_are_easy_to_type():
    """Eight consonants with a dash; whatever blanks, dashes and small letters are typed."""
    codes = {devices.begin(public_jwk(KEY), "laptop", "", NOW)[0].user_code for _ in range(200)}

    assert len(codes) == 200
    assert all(set(code) <= set("BCDFGHJKLMNPQRSTVWXZ-") and code[4] == "-" for code in codes)
    assert devices.typed(" bcdf ghjk") == devices.typed("bcdf-GHJK") == "BCDF-GHJK"


def test_a_private_key_is_refused():
    """It must stay where it was made."""
    with pytest.raises(InvalidRequest):
        devices.begin({**public_jwk(KEY), "d": "c2VjcmV0"}, "laptop", "", NOW)


def test_an_undecided_login_is_pending(login):
    """RFC 8628's authorization_pending, until it is decided or dead."""
    with pytest.raises(ApprovalPending) as pending:
        outcome(login)
    assert pending.value.code == "authorization_pending"


def test_questions_that_come_too_early_are_slowed_down(login):
    """The interval holds between two questions; half a second is forgiven."""
    asked = replace(login, polled_at=NOW)

    assert not devices.too_early(login, NOW)
    assert devices.too_early(asked, NOW + timedelta(seconds=1))
    assert not devices.too_early(asked, NOW + timedelta(seconds=1.6))
    assert devices.too_early(replace(asked, interval_s=7), NOW + timedelta(seconds=6))
    with pytest.raises(SlowDown):
        outcome(asked, early=True)


def test_a_code_dies_after_ten_minutes(login):
    """To the second, for the client and for who would approve it; approved or not."""
    last = LIFETIME.total_seconds()
    approved = replace(login, state=DeviceState.APPROVED, session="s")

    assert outcome(approved, last - 1) == "s"
    for dead in (login, approved):
        with pytest.raises(CodeExpired):
            outcome(dead, last)
    with pytest.raises(CodeExpired):
        devices.undecided(login, NOW + LIFETIME)


def test_a_code_dies_at_the_fifth_wrong_password(login):
    """Four are forgiven."""
    devices.undecided(replace(login, tries=4), NOW)
    with pytest.raises(CodeExpired):
        devices.undecided(replace(login, tries=5), NOW)


@pytest.mark.parametrize("state", [DeviceState.APPROVED, DeviceState.REFUSED])
def test_a_login_is_decided_once(login, state):
    """Another decision is a conflict."""
    with pytest.raises(Conflict):
        devices.undecided(replace(login, state=state), NOW)


def test_a_refused_login_is_told_so_at_once(login):
    """Also to a client that asks too early."""
    with pytest.raises(ApprovalRefused):
        outcome(replace(login, state=DeviceState.REFUSED), early=True)


def test_a_decision_is_signed_with_all_that_it_rests_on(login, tmp_path):
    """Who, when their password was given, from where, about which key, of which computer."""
    ring = KeyRing.open(tmp_path / "keys.json", NOW)
    asked = frozenset({Scope.JOBS_READ, Scope.STORAGE_READ})
    when = NOW + timedelta(seconds=30)
    asks = replace(login, scopes=asked)
    given = asks.narrowed(frozenset({Scope.JOBS_READ}))
    decided = replace(asks, state=DeviceState.APPROVED, session="s", decided_at=when, given=given)

    browser = Browser("c", "ada", "198.51.100.2", "Firefox", NOW, NOW + LIFETIME)
    token = statement(decided, ADA, "198.51.100.2", browser, ring)

    assert json.loads(ring.verify(token, APPROVAL_TYPE)) == {
        "sub": "ada",
        "auth_time": int(NOW.timestamp()),
        "amr": ["pwd"],
        "address": "198.51.100.2",
        "decision": "approved",
        "jkt": thumbprint(KEY),
        "scope_asked": "jobs:read storage:read",
        "scope": "jobs:read",
        "asked_by": {"host": "laptop", "address": "192.0.2.7"},
        "sid": "s",
        "iat": int(NOW.timestamp()) + 30,
    }


def test_both_sides_make_the_same_words_of_a_key(login):
    """The client from its key, the gateway from what arrived; another key has other words."""
    others = {phrase(make_key()) for _ in range(40)}

    assert login.phrase == phrase(KEY)
    assert len(login.phrase.split()) == 4
    assert len(others) > 35


def test_every_list_of_words_has_thirty_two_different_ones():
    """Or some keys would be more alike than others."""
    assert [len(set(words)) for words in WORDS] == [32] * 4
