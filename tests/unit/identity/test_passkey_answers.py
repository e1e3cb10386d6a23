"""Passkeys: which answers of a device count, and where browsers use them at all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from soft_passkey import PRESENT, VERIFIED, SoftPasskey, flipped

from gateway.errors import Refused
from gateway.identity import passkeys
from gateway.identity.passkeys import LIFETIME, RelyingParty

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PARTY = RelyingParty("localhost", "http://localhost:8080", "Burst")


@pytest.fixture
def known():
    """A device, and its passkey as it is kept."""
    device = SoftPasskey()
    challenge = passkeys.add_challenge("cookie", (), NOW)
    answer = device.make(passkeys.creation_options(PARTY, challenge, "ada", ()))
    return device, passkeys.read_new(PARTY, challenge, answer, user="ada", name="laptop", now=NOW)


def count_of(device, passkey, *, party=PARTY, later=timedelta(0), change=lambda answer: answer):
    """What a sign-in with it comes to."""
    challenge = passkeys.sign_in_challenge("cookie", NOW)
    answer = change(device.use(passkeys.request_options(PARTY, challenge)))
    return passkeys.verified_count(party, challenge, answer, passkey, NOW + later)


def test_a_passkey_is_made_and_used(known):
    """Its count is the device's."""
    device, passkey = known
    assert (count_of(device, passkey), count_of(device, passkey)) == (1, 2)
    assert passkey.handle == device.handle
    assert "ada" not in passkey.handle


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("another site's page", {"origin": "http://localhost:9999"}),
        ("another site's key", {"rp_id": "evil.example"}),
        ("nobody was verified", {"flags": PRESENT}),
        ("nobody was there", {"flags": VERIFIED}),
        ("another user's", {"handle": "AAAA"}),
    ],
)
def test_an_answer_of_another_kind_is_refused(known, what, change):
    """Each in the same words."""
    device, passkey = known
    with pytest.raises(Refused, match="not known here"):
        count_of(replace(device, **change), passkey)


@pytest.mark.parametrize("member", ["clientDataJSON", "authenticatorData", "signature"])
def test_a_changed_bit_is_refused(known, member):
    """Of anything that is signed, and of the signature."""
    with pytest.raises(Refused):
        count_of(*known, change=lambda answer: flipped(answer, member))


def test_an_answer_is_to_one_challenge_and_in_time(known):
    """Not to another, not after five minutes."""
    device, passkey = known
    other = passkeys.sign_in_challenge("cookie", NOW)
    answer = device.use(passkeys.request_options(PARTY, other))
    with pytest.raises(Refused):
        count_of(device, passkey, change=lambda _: answer)
    with pytest.raises(Refused, match="too long ago"):
        count_of(device, passkey, later=LIFETIME)


@pytest.mark.parametrize("answer", ["", "{}", "[]", "null", '{"id": 1}', "é", json.dumps({"id": "a", "rawId": "a"})])
def test_what_is_no_answer_is_refused(known, answer):
    """With an error of ours, whatever it is."""
    with pytest.raises(Refused):
        passkeys.credential_of(answer)
    with pytest.raises(Refused):
        count_of(*known, change=lambda _: answer)
    with pytest.raises(Refused):
        passkeys.read_new(PARTY, passkeys.add_challenge("c", (), NOW), answer, user="ada", name="x", now=NOW)


def test_a_new_passkey_needs_verification_and_this_page():
    """As a sign-in does."""
    for device in (SoftPasskey(flags=PRESENT), SoftPasskey(origin="https://evil.example"), SoftPasskey(rp_id="evil")):
        challenge = passkeys.add_challenge("cookie", (), NOW)
        answer = device.make(passkeys.creation_options(PARTY, challenge, "ada", ()))
        with pytest.raises(Refused):
            passkeys.read_new(PARTY, challenge, answer, user="ada", name="x", now=NOW)


def test_a_count_that_stands_still_or_goes_back_is_a_copy(known):
    """Devices that do not count at all say 0 for ever."""
    _, passkey = known
    assert not passkey.overtaken_by(0)
    used = replace(passkey, sign_count=5)
    assert [used.overtaken_by(count) for count in (0, 4, 5, 6)] == [True, True, True, False]


def test_options_ask_for_a_verified_person_and_name_nobody(known):
    """A sign-in's options are the same for a user, another and none."""
    _, passkey = known
    asked = passkeys.request_options(PARTY, passkeys.sign_in_challenge("cookie", NOW))
    assert asked["userVerification"] == "required"
    assert asked["allowCredentials"] == []
    made = passkeys.creation_options(PARTY, passkeys.add_challenge("cookie", (passkey,), NOW), "ada", (passkey,))
    assert made["authenticatorSelection"]["residentKey"] == "required"
    assert made["authenticatorSelection"]["userVerification"] == "required"
    assert made["user"]["id"] == passkey.handle
    assert [each["id"] for each in made["excludeCredentials"]] == [passkey.credential_id]


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://burst.lab.example", ("burst.lab.example", "https://burst.lab.example")),
        ("https://burst.lab.example:8443", ("burst.lab.example", "https://burst.lab.example:8443")),
        ("http://localhost:8080", ("localhost", "http://localhost:8080")),
        ("http://127.0.0.1:8080", ("localhost", "http://localhost:8080")),
        ("http://burst.lab.example", None),
        ("https://192.0.2.7", None),
        ("http://192.0.2.7:8080", None),
    ],
)
def test_where_browsers_use_passkeys(url, where):
    """At a name, encrypted; and on this computer, by its name."""
    party = RelyingParty.of(url, "Burst")
    assert (party and (party.id, party.origin)) == where
