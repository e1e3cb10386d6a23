"""Weaknesses that signatures have had elsewhere: the attack on a naive form succeeds, and is refused by ours.

Each naive form is a few lines in the manner of the weakness, so that the same attack is seen to work there.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from joserfc.jwk import OctKey

from gateway.errors import BadReply, BadSignature, InvalidRequest, SignatureExpired
from gateway.identity import jws
from gateway.identity.certificates import SITE_CERTIFICATE_TYPE
from gateway.identity.credentials import CREDENTIAL_TYPE
from gateway.identity.keys import make_key, make_pair, public_jwk, read_public
from gateway.identity.replies import REPLY_TYPE, check_reply, sign_reply
from gateway.identity.sessions import CERTIFICATE_TYPE
from gateway.identity.signature import DEFAULT_SKEW_S, LIFETIME_S, TYPE, sign_request, verify_request
from gateway.identity.slurm_token import TOKEN_TYPE
from gateway.identity.succession import SUCCESSION_TYPE
from gateway.wire.proofs import KEYS_SEAL_TYPE, SEAL_TYPE

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = make_key()
PUBLIC = read_public(public_jwk(KEY))
PATH = "/api/v1/accounts/ada/credits?memo=rent"
BODY = b'{"payee":"bob","amount_ucr":3000000}'
REQUEST = {"method": "POST", "path": PATH, "body": BODY, "audience": "burst/a"}
TOKEN = sign_request(KEY, "session1", *REQUEST.values(), NOW, resource="job:12", max_spend_ucr=5)
SECONDS = timedelta(seconds=1)
TYPES = {
    TYPE, REPLY_TYPE, SUCCESSION_TYPE, CERTIFICATE_TYPE, SITE_CERTIFICATE_TYPE, CREDENTIAL_TYPE, TOKEN_TYPE, SEAL_TYPE,
    KEYS_SEAL_TYPE, "burst-receipt+jws",
}  # fmt: skip


def verify(token: str = TOKEN, now: datetime = NOW, **changed):
    return verify_request(token, PUBLIC, **{**REQUEST, **changed}, now=now)


def signs(text: str) -> bytes:
    """A bare signature over a text, as the naive forms have it."""
    return KEY.private_key.sign(text.encode())


def holds(signature: bytes, text: str) -> bool:
    try:
        PUBLIC.public_key.verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize(
    "late",
    [
        timedelta(seconds=LIFETIME_S + DEFAULT_SKEW_S + 1),
        timedelta(hours=24, minutes=30),
        timedelta(days=30),
        -timedelta(days=1, seconds=10),
        -timedelta(seconds=DEFAULT_SKEW_S + 1),
    ],
)
def test_f11_a_signature_is_good_for_its_minute_only(late):
    """A second beyond expiry and skew, half an hour into the next day, a month later, and a day too early."""
    with pytest.raises(SignatureExpired):
        verify(now=NOW + late)


@pytest.mark.parametrize("skew", [-DEFAULT_SKEW_S, -1, 0, 1, LIFETIME_S, LIFETIME_S + DEFAULT_SKEW_S - 1])
def test_f11_clocks_may_differ_by_a_minute_either_way(skew):
    """The verifier's clock up to 60 s behind the signer's, or 60 s ahead when the signature has just run out."""
    assert verify(now=NOW + skew * SECONDS).nonce


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"path": PATH.replace("credits", "budget")},
        {"path": PATH.replace("ada", "eve")},
        {"path": PATH.replace("rent", "gift")},
        {"body": BODY.replace(b"bob", b"eve")},
        {"body": BODY + b" "},
        {"audience": "burst/b"},
    ],
)
def test_f11_function_arguments_audience_and_resource_are_bound(changed):
    """What is asked, of whom, with which words, about what: another one is another request."""
    with pytest.raises(BadSignature):
        verify(**changed)


def test_f11_resource_and_limit_are_inside_the_signature():
    """Claims put into a token after it was signed spoil it."""
    header, payload, signature = TOKEN.split(".")
    claims = json.loads(jws._decode(payload))
    for name, value in {"res": "job:13", "max": 10**9, "aud": "burst/b", "exp": claims["exp"] + 60}.items():
        forged = jws._encode(json.dumps({**claims, name: value}).encode())
        with pytest.raises(BadSignature):
            verify(f"{header}.{forged}.{signature}")


def test_w03_all_arguments_are_signed():
    """Naive: only a short text is signed, and every other argument can be another. Ours: the whole body is."""
    short = signs("create_drive simulations")
    asked = {"drive": "simulations", "acl": "owner:ada"}
    forged = {**asked, "acl": "owner:eve"}
    assert holds(short, f"create_drive {forged['drive']}")

    token = sign_request(KEY, "s", "POST", PATH, json.dumps(asked).encode(), "burst/a", NOW)
    with pytest.raises(BadSignature, match="another body"):
        verify(token, body=json.dumps(forged).encode())


def test_w04_a_signature_is_for_one_gateway():
    """Naive: nothing names the service, so that service A uses at service B what it was sent. Ours: aud is signed."""
    naive = signs("list_files drive1")
    assert [holds(naive, "list_files drive1") for _service in ("a", "b")] == [True, True]

    assert verify(audience="burst/a")
    with pytest.raises(BadSignature, match="another audience"):
        verify(audience="burst/b")


@pytest.mark.parametrize("days", [1, 2, 30, 365])
def test_w06_a_stale_signature_stays_stale_the_next_days(days):
    """Naive: timedelta.seconds forgets the days, so a signature is fresh again daily. Ours compares whole times."""
    now = NOW + timedelta(days=days, minutes=1)
    assert (now - NOW).seconds < 7200  # the naive test of staleness, and it passes

    with pytest.raises(SignatureExpired):
        verify(now=now)


def test_w06_a_signature_of_a_future_day_is_refused():
    """Naive: a day ahead but for ten seconds counts as ten seconds of skew. Ours: it is from the future."""
    now = NOW - timedelta(days=1, seconds=-10)
    assert 86_400 - (NOW - now).seconds < 30

    with pytest.raises(SignatureExpired, match="future"):
        verify(now=now)


def test_w13_the_signer_is_named_inside_what_is_signed():
    """Naive: a signature around a message without a sender can be stripped and replaced by another's own."""
    eve = make_key()
    message = b"transfer the output to me"
    assert eve.private_key.sign(message)  # as good as ada's: nothing in the message says ada

    header, payload, _ = TOKEN.split(".")
    resigned = f"{header}.{payload}.{jws._encode(eve.private_key.sign(f'{header}.{payload}'.encode()))}"
    with pytest.raises(BadSignature):
        verify(resigned)  # under ada's kid
    assert json.loads(jws._decode(payload))["iss"] == "session1"
    two_names = jws.sign(json.dumps({"iss": "session1"}).encode(), KEY, kid="session2", typ=TYPE)
    with pytest.raises(BadSignature, match="two keys"):
        verify(two_names)


def test_w13_a_key_of_one_kind_is_not_taken_for_another():
    """Naive: one lookup serves all keys and the token names its algorithm, so a public key becomes an HMAC secret."""
    secret = KEY.as_dict(private=False)["x"].encode() * 2
    header = jws._encode(b'{"alg":"HS256","kid":"session1","typ":"burst-request+jws"}')
    signed = f"{header}.{TOKEN.split('.')[1]}"
    forged = f"{signed}.{jws._encode(hmac.digest(secret, signed.encode(), 'sha256'))}"
    assert jws.verify(forged, OctKey.import_key(secret), typ=TYPE)  # naive: by the token's own word

    with pytest.raises(BadSignature, match="algorithm"):
        verify(forged)
    for other in (public_jwk(make_pair("ES256")), {"kty": "oct", "k": "AAAA"}, KEY.as_dict(private=True)):
        with pytest.raises(InvalidRequest):
            read_public(other)


@pytest.mark.parametrize(("before", "after"), [(b"bob", b"eve"), (b"3000000", b"9000000")])
def test_w16_payee_and_amount_are_signed(before, after):
    """Naive: "rent 3.000000" is signed, so the payee is free. Ours: both are in the body, and the body is signed."""
    naive = signs("rent 3.000000")
    assert all(holds(naive, "rent 3.000000") for _payee in ("bob", "eve"))

    with pytest.raises(BadSignature, match="another body"):
        verify(body=BODY.replace(before, after))


@pytest.mark.parametrize(("signed_as", "read_as"), sorted(itertools.permutations(TYPES, 2)))
def test_w21_a_token_of_one_type_is_none_of_another(signed_as, read_as):
    """Each purpose has a type of its own, which is signed; no type at all is none of them either."""
    token = jws.sign(b"{}", KEY, kid="k", typ=signed_as)

    assert jws.verify(token, PUBLIC, typ=signed_as) == b"{}"
    with pytest.raises(BadSignature, match="another purpose"):
        jws.verify(token, PUBLIC, typ=read_as)


def test_w21_a_token_without_a_type_is_refused():
    """Whoever signed it."""
    header = jws._encode(b'{"alg":"Ed25519","kid":"k"}')
    signed = f"{header}.{jws._encode(b'{}')}"
    token = f"{signed}.{jws._encode(KEY.private_key.sign(signed.encode()))}"

    with pytest.raises(BadSignature, match="another purpose"):
        jws.verify(token, PUBLIC, typ=TYPE)


def test_w21_fields_cannot_run_into_each_other():
    """Naive: fields joined by "|" make one text of two different requests. Ours: JSON has boundaries."""
    one, other = ("ada", "jobs|all", "now"), ("ada|jobs", "all", "now")
    assert holds(signs("|".join(one)), "|".join(other))

    token = sign_request(KEY, "s", "POST", "/api/v1/jobs|x", b"y", "burst/a", NOW)
    for changed in ({"path": "/api/v1/jobs", "body": b"|xy"}, {"path": "/api/v1/jobs|", "body": b"xy"}):
        with pytest.raises(BadSignature):
            verify(token, **changed)
    shift = sign_request(KEY, "s", "POST", PATH, BODY, 'burst","aud":"x', NOW)
    with pytest.raises(BadSignature):
        verify(shift, audience="x")


def test_w11_a_reply_is_to_one_request():
    """Naive: a reply signed without what it replies to is good for every question. Ours names the request's digest."""
    naive = signs("balance 100")
    assert [holds(naive, "balance 100") for _question in ("of ada", "of bob")] == [True, True]

    class Signer:
        def sign(self, payload: bytes, typ: str, _now: datetime) -> str:
            return jws.sign(payload, KEY, kid="gateway", typ=typ)

    other = sign_request(KEY, "session1", *REQUEST.values(), NOW)
    signed = sign_reply(Signer(), TOKEN, 200, b"100", NOW)
    check_reply(signed, PUBLIC, TOKEN, 200, b"100")
    for what, words in {
        "another request": (signed, PUBLIC, other, 200, b"100"),
        "another status": (signed, PUBLIC, TOKEN, 201, b"100"),
        "another body": (signed, PUBLIC, TOKEN, 200, b"900"),
        "not signed": (None, PUBLIC, TOKEN, 200, b"100"),
        "not the gateway's": (signed, read_public(public_jwk(make_key())), TOKEN, 200, b"100"),
    }.items():
        with pytest.raises(BadReply, match=what):
            check_reply(*words)
    assert hashlib.sha256(TOKEN.encode()).hexdigest() in jws._decode(signed.split(".")[1]).decode()


@pytest.mark.parametrize("curve", [jws.openssl, jws.libsodium])
def test_a_signature_has_one_length(curve):
    """Naive: signature and text go to libsodium in one piece, so the border between them may be moved."""
    signed, text = KEY.private_key.sign(BODY), BODY
    naive = signed[:-1] + (signed[-1:] + text)
    assert naive == signed + text  # what libsodium would be given, and find right
    curve(KEY.public_key, signed, text)
    for moved, rest in ((signed[:-1], signed[-1:] + text), (signed + text[:1], text[1:]), (b"", signed + text)):
        with pytest.raises(InvalidSignature):
            curve(KEY.public_key, moved, rest)
    for place in range(64):
        with pytest.raises(InvalidSignature):
            curve(KEY.public_key, signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :], text)
