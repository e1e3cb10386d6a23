"""Visas: what a home gateway says of its users, and when it is believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadSignature, InvalidRequest, Refused, SignatureExpired
from gateway.identity import peers
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.peers import VISITING, Peer, Visa
from gateway.identity.scopes import ALL, Scope
from gateway.identity.sessions import Session

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
KEY = make_key()
SKEW = timedelta(seconds=60)
HERE, THERE = "burst/home/1", "burst/away/1"


def session(**other) -> Session:
    facts = {"id": "s1", "user": "ada", "public_key": public_jwk(KEY), "created_at": NOW, "scopes": ALL}
    return Session(**facts | {"expires_at": NOW + timedelta(hours=8)} | other)


def peer(keys, **other) -> Peer:
    facts = {"name": "home", "issuer": "https://home.example", "audience": THERE, "keys": keys, "projects": ("p",)}
    return Peer(**facts | {"trusted_by": "admin", "authorisation": "0" * 64, "since": NOW} | other)


@pytest.fixture
def ring(tmp_path) -> KeyRing:
    """The home gateway's keys."""
    return KeyRing.open(tmp_path / "keys.json", NOW)


def test_a_visa_says_whose_key_it_is(ring):
    """For the gateway that it is for, while it is young; the scopes are the session's, as far as a visit goes."""
    home = peer(ring.jwks())
    visa = peers.issue(
        session(scopes=frozenset({Scope.JOBS_READ, Scope.MONEY_WRITE})), KEY, home, home.issuer, ring, NOW
    )

    said = peers.check(visa, home, THERE, NOW, SKEW)

    assert (said.user, said.session, said.key) == ("ada", "s1", public_jwk(KEY))
    assert said.scopes == {Scope.JOBS_READ}
    assert peers.issuer_of(visa) == home.issuer


@pytest.mark.parametrize("late_s", [5 * 60 + 61, 24 * 3600 + 1800, 30 * 86_400 + 1, -61, -10 * 86_400])
def test_a_visa_is_good_for_minutes(ring, late_s):
    """Not later, not a day later to the minute, not before it was signed."""
    home = peer(ring.jwks())
    visa = peers.issue(session(), KEY, home, home.issuer, ring, NOW)
    with pytest.raises(SignatureExpired):
        peers.check(visa, home, THERE, NOW + timedelta(seconds=late_s), SKEW)


def test_it_ends_with_the_session(ring):
    """A session that is about to end gives a visa that is, too."""
    home = peer(ring.jwks())
    visa = peers.issue(session(expires_at=NOW + timedelta(seconds=30)), KEY, home, home.issuer, ring, NOW)
    with pytest.raises(SignatureExpired):
        peers.check(visa, home, THERE, NOW + timedelta(seconds=91), SKEW)


def test_another_gateway_or_another_key_is_refused(ring, tmp_path):
    """The audience is one gateway's, the signature the registered one's."""
    home = peer(ring.jwks())
    visa = peers.issue(session(), KEY, home, home.issuer, ring, NOW)
    with pytest.raises(BadSignature):
        peers.check(visa, home, HERE, NOW, SKEW)
    with pytest.raises(BadSignature):
        peers.check(visa, peer(KeyRing.open(tmp_path / "other.json", NOW).jwks()), THERE, NOW, SKEW)
    with pytest.raises(BadSignature):
        peers.check(visa, peer(ring.jwks(), issuer="https://elsewhere.example"), THERE, NOW, SKEW)


@given(st.text(max_size=30))
def test_what_is_no_visa_is_refused(text):
    """Whatever it is, nobody has to think about who sent it."""
    with pytest.raises(BadSignature):
        peers.issuer_of(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"jti": None}, {"sub": 7}, {"sid": []}, {"scope": None}, {"cnf": {}}, {"cnf": "x"}, {"iat": "soon"},
        {"exp": 10**30}, {"jti": "x" * 129}, {"sub": ""},
    ],
    ids=str,
)  # fmt: skip
def test_a_trusted_gateway_that_signs_nonsense_is_refused(ring, wrong):
    """What another program signed is read as carefully as what anybody sends."""
    home = peer(ring.jwks())
    good = peers.jws.claims_of(peers.issue(session(), KEY, home, home.issuer, ring, NOW))
    for claims in ({**good, **wrong}, {name: value for name, value in good.items() if name not in wrong}):
        with pytest.raises(BadSignature):
            peers.check(ring.sign(json.dumps(claims).encode(), peers.VISA_TYPE, NOW), home, THERE, NOW, SKEW)


def test_a_visitor_neither_goes_on_nor_takes_a_name():
    """ada@home gets no visa, and nobody comes as ada@home@away."""
    visa = Visa("v", "ada@home", "s", public_jwk(KEY), VISITING)
    with pytest.raises(Refused):
        peers.visitor_name(visa, peer({}))
    assert peers.visitor_name(Visa("v", "ada", "s", {}, VISITING), peer({})) == "ada@home"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("Home", [public_jwk(KEY)]),
        ("a@b", [public_jwk(KEY)]),
        ("home", []),
        ("home", [{"kty": "EC", "crv": "P-256", "x": "", "y": ""}]),
        ("home", [KEY.as_dict(private=True)]),
    ],
)
def test_what_cannot_be_trusted_is_refused(name, keys):
    """A name that could be a user's, no key that signs visas, a private key."""
    with pytest.raises(InvalidRequest):
        peers.check_peer(peer({"keys": keys}, name=name))
