"""A signature holds for exactly the request that was signed, for a short time, by exactly that key."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import OctKey

from gateway.errors import BadSignature, SignatureExpired
from gateway.identity.keys import make_key, make_secret, public_jwk, read_public, read_secret
from gateway.identity.signature import TYPE, sign_request, token_of, verify_request

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = make_key()
PUBLIC = read_public(public_jwk(KEY))
REQUEST = {"method": "POST", "path": "/api/v1/jobs?limit=2", "body": b'{"script":"#!/bin/sh"}', "audience": "burst"}
TOKEN = sign_request(KEY, "session1", *REQUEST.values(), NOW, resource="job:12", max_spend_ucr=5)


def verify(token: str = TOKEN, key=PUBLIC, now: datetime = NOW, **changed):
    return verify_request(token, key, **{**REQUEST, **changed}, now=now)


def crafted(header: dict, claims: dict | bytes, key=KEY) -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return joserfc_jws.serialize_compact(
        {"alg": "Ed25519", "kid": "session1", "typ": TYPE, **header}, payload, key, ["Ed25519", "HS256"]
    )


def claims_of(token: str = TOKEN) -> dict:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_what_was_signed_verifies():
    """All that the signature says comes back, and its digest names it."""
    claims = verify()

    assert (claims.kid, claims.resource, claims.max_spend_ucr) == ("session1", "job:12", 5)
    assert claims.issued_at == NOW
    assert len(claims.digest) == 64


def test_each_signature_has_its_own_nonce():
    """Signing the same request twice gives two nonces of 128 bit."""
    again = sign_request(KEY, "session1", *REQUEST.values(), NOW)

    assert verify(again).nonce != verify().nonce
    assert len(base64.urlsafe_b64decode(verify().nonce + "==")) == 16


@given(position=st.integers(0, len(TOKEN) - 1), character=st.characters(min_codepoint=33, max_codepoint=126))
def test_no_character_of_the_token_can_be_changed(position, character):
    """There is no other spelling of a token, not even of its last character's unused bits."""
    assume(TOKEN[position] != character)

    with pytest.raises(BadSignature):
        verify(TOKEN[:position] + character + TOKEN[position + 1 :])


@given(data=st.data(), part=st.sampled_from(["method", "path", "body", "audience"]))
def test_no_byte_of_the_request_can_be_changed(data, part):
    """Another body, path, method or audience, by one byte, is another request."""
    value = REQUEST[part]
    raw = value if isinstance(value, bytes) else value.encode()
    position = data.draw(st.integers(0, len(raw) - 1))
    flipped = (
        raw[:position] + bytes([raw[position] ^ data.draw(st.sampled_from([1, 2, 4, 8, 16]))]) + raw[position + 1 :]
    )

    with pytest.raises(BadSignature, match=f"another {part}"):
        verify(**{part: flipped if isinstance(value, bytes) else flipped.decode()})


@given(body=st.binary(max_size=200), path=st.text(max_size=50), max_spend=st.none() | st.integers(0, 10**15))
def test_any_request_can_be_signed(body, path, max_spend):
    """Whatever its bytes and its path, it verifies with the public key alone."""
    assume("\ud800" not in path and path.isprintable())
    token = sign_request(KEY, "s", "PUT", path, body, "burst", NOW, max_spend_ucr=max_spend)

    assert verify(token, method="PUT", path=path, body=body).max_spend_ucr == max_spend


@pytest.mark.parametrize("offset_s", [-60, -1, 0, 59, 60, 119])
def test_clocks_may_differ_by_the_skew(offset_s):
    """From 60 s before it was signed until 60 s after it expired."""
    assert verify(now=NOW + timedelta(seconds=offset_s))


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (timedelta(seconds=-61), "from the future"),
        (timedelta(seconds=120), "too old"),
        (timedelta(days=1, minutes=1), "too old"),
        (timedelta(days=-1), "from the future"),
    ],
)
def test_beyond_the_skew_it_is_refused_with_a_hint(offset, words):
    """Also whole days later, when the time of day is the same."""
    with pytest.raises(SignatureExpired, match=words) as refused:
        verify(now=NOW + offset)
    assert "clock" in str(refused.value.hint)


@pytest.mark.parametrize("lifetime", [0, -1, 121, 10**9])
def test_a_lifetime_of_more_than_two_minutes_is_refused(lifetime):
    """However fresh it is."""
    claims = claims_of()

    with pytest.raises(SignatureExpired, match="would be good for"):
        verify(crafted({}, claims | {"exp": claims["iat"] + lifetime}))


def test_another_key_is_refused():
    """Somebody else's signature under the same key id."""
    with pytest.raises(BadSignature):
        verify(sign_request(make_key(), "session1", *REQUEST.values(), NOW))


def test_the_public_key_is_no_hmac_secret():
    """A token that was HMACed with the public key's bytes does not pass as Ed25519, nor by claiming to be HS256."""
    for secret in (public_jwk(KEY)["x"].encode(), PUBLIC.public_key.public_bytes_raw()):
        forged = crafted({"alg": "HS256"}, claims_of(), OctKey.import_key(secret))
        with pytest.raises(BadSignature, match="algorithm"):
            verify(forged)


def test_a_nodes_secret_takes_only_hmac():
    """An Ed25519 token is refused by a node's key, and an HMAC verifies with it."""
    secret = read_secret(make_secret())

    assert verify(sign_request(secret, "node:small-1:1", *REQUEST.values(), NOW), secret).kid == "node:small-1:1"
    with pytest.raises(BadSignature, match="algorithm"):
        verify(TOKEN, secret)


@pytest.mark.parametrize("alg", ["none", "None", "EdDSA", "ES256", ""])
def test_no_other_algorithm_is_taken(alg):
    """Neither none, nor an old or foreign name for what would be the same bytes."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "session1"}).encode()).rstrip(b"=").decode()
    _, payload, signature = TOKEN.split(".")

    for last in (signature, ""):
        with pytest.raises(BadSignature):
            verify(f"{header}.{payload}.{last}")


def test_a_token_for_another_purpose_is_refused():
    """Its type says what it was signed for."""
    with pytest.raises(BadSignature, match="another purpose"):
        verify(crafted({"typ": "JWT"}, claims_of()))
    assert TYPE != "JWT"


@pytest.mark.parametrize("name", ["jti", "htm", "htu", "bsh", "aud", "iat", "exp"])
@pytest.mark.parametrize("value", [None, True, 1.5, [], {}])
def test_each_claim_must_be_there_and_of_its_kind(name, value):
    """A missing claim and one of another type are refused, not guessed."""
    claims = claims_of() | {name: value}

    with pytest.raises(BadSignature, match="missing or of the wrong kind"):
        verify(crafted({}, claims))


@pytest.mark.parametrize(
    "changed", [{"max": -1}, {"max": True}, {"max": "5"}, {"res": 5}, {"jti": "short"}, {"iat": 10**30}]
)
def test_a_senseless_claim_is_refused(changed):
    """A negative limit would be no limit; a short nonce could be guessed."""
    with pytest.raises(BadSignature):
        verify(crafted({}, claims_of() | changed))


def test_one_key_is_named():
    """Issuer and key id must agree."""
    with pytest.raises(BadSignature, match="two keys"):
        verify(crafted({}, claims_of() | {"iss": "session2"}))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "é.é.é",
        "e30.e30.e30",
        "x" * 9000,
        TOKEN + "=",
        TOKEN + "\n",
        b"[]".hex() + ".e30.e30",
    ],
)
def test_what_is_no_token_is_refused(token):
    """Whatever it is instead."""
    with pytest.raises(BadSignature):
        verify(token)


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"\xff", b"[" * 50_000])
def test_a_payload_that_is_no_object_is_refused(payload):
    """Also when it was properly signed."""
    with pytest.raises(BadSignature):
        verify(crafted({}, payload))


@pytest.mark.parametrize("header", [None, "", "Burst", "Burst ", "Bearer x", "x"])
def test_an_unsigned_request_says_how_to_sign(header):
    """No header, or one of another scheme."""
    with pytest.raises(BadSignature, match="not signed") as refused:
        token_of(header)
    assert "burst login" in str(refused.value.hint)


def test_the_token_is_taken_from_the_header():
    """The scheme's case does not matter (RFC 9110 section 11.1)."""
    assert token_of("burst abc") == "abc"


def test_signing_loads_no_server_library():
    """A client that signs stays light."""
    code = (
        "import sys, gateway.identity.signature\n"
        "heavy = {'pydantic', 'sqlalchemy', 'fastapi', 'argon2', 'gateway.settings', 'gateway.storage'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"\n"
