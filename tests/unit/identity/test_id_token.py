"""ID tokens of an institution: which count, which do not, and whose they are."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.errors import Refused
from gateway.identity.id_token import SKEW, UnknownKey, read_id_token
from gateway.identity.institutions import Institution, Person

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LAB = Institution("lab", "Example Lab", "https://id.lab.example", "burst", lambda: "secret")
NONCE = "the nonce of this sign-in"
KEYS = {
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}, private=True),
    "ES256": ECKey.generate_key("P-256", {"kid": "ec"}, private=True),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "okp"}, private=True),
}
JWKS = {"keys": [key.as_dict(private=False) for key in KEYS.values()]}
GOOD = {
    "iss": LAB.issuer,
    "sub": "maria",
    "aud": "burst",
    "nonce": NONCE,
    "iat": int(NOW.timestamp()) - 1,
    "exp": int(NOW.timestamp()) + 300,
    "auth_time": int(NOW.timestamp()) - 60,
    "preferred_username": "maria",
    "email": "maria@lab.example",
    "email_verified": True,
}


def token(alg="RS256", *, key=None, kid=None, **claims):
    """A signed token; ``claims`` replace those of a good one, None leaves one out."""
    key = key or KEYS[alg]
    members = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    header = {"alg": alg, "kid": kid or key.kid}
    return jws.serialize_compact(header, json.dumps(members).encode(), key, algorithms=[alg])


def read(text, jwks=JWKS):
    return read_id_token(text, LAB, jwks, NONCE, NOW)


@pytest.mark.parametrize("alg", sorted(KEYS))
def test_a_good_token_tells_who_it_is(alg):
    """With each kind of key that an institution may have."""
    assert read(token(alg)) == Person(
        LAB.issuer, "maria", "maria", "maria@lab.example", email_verified=True, proved_at=NOW - timedelta(seconds=60)
    )


@pytest.mark.parametrize(
    ("words", "claims"),
    [
        ("another issuer made it", {"iss": "https://evil.example"}),
        ("another issuer made it", {"iss": LAB.issuer + "/"}),
        ("another issuer made it", {"iss": None}),
        ("for somebody else", {"aud": "another-client"}),
        ("for somebody else", {"aud": []}),
        ("for somebody else", {"aud": None}),
        ("for somebody else", {"azp": "another-client"}),
        ("for somebody else", {"aud": ["burst", "another-client"]}),
        ("for somebody else", {"aud": ["burst", "another-client"], "azp": "another-client"}),
        ("not an answer to this sign-in", {"nonce": "another"}),
        ("not an answer to this sign-in", {"nonce": None}),
        ("expired", {"exp": int((NOW - SKEW).timestamp())}),
        ("expired", {"exp": None}),
        ("expired", {"exp": True}),
        ("expired", {"exp": "2099-01-01"}),
        ("expired", {"exp": 1e400}),
        ("not good yet", {"iat": int((NOW + SKEW).timestamp()) + 1}),
        ("expired", {"iat": None}),
        ("names nobody", {"sub": None}),
        ("names nobody", {"sub": ""}),
        ("names nobody", {"sub": 7}),
        ("names nobody", {"sub": "x" * 256}),
    ],
)
def test_a_token_that_is_not_for_this_sign_in_is_refused(words, claims):
    """However well it is signed; the page says which it is."""
    with pytest.raises(Refused, match=words):
        read(token(**claims))


def test_a_token_for_several_clients_names_this_one_as_its_presenter():
    """OpenID Connect Core 3.1.3.7, rules 4 and 5."""
    assert read(token(aud=["another-client", "burst"], azp="burst")).subject == "maria"


def test_a_changed_token_is_refused():
    """One bit of the payload, or of the signature."""
    header, payload, signature = token().split(".")
    other = urlsafe_b64encode(json.dumps({**GOOD, "sub": "admin"}).encode()).rstrip(b"=").decode()
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    for text in (f"{header}.{other}.{signature}", f"{header}.{payload}.{flipped}", f"{header}.{payload}.", "", "a.b"):
        with pytest.raises(Refused, match="not signed by Example Lab"):
            read(text)


@pytest.mark.parametrize("alg", ["none", "HS256"])
def test_a_token_with_no_or_a_shared_key_is_refused(alg):
    """ "none", and HMAC with the public key's text as the secret (RFC 8725 section 2.1)."""
    members = ({"alg": alg, "kid": "rsa"}, GOOD)
    signed = b".".join(urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in members)
    public = KEYS["RS256"].as_pem(private=False)
    seal = b"" if alg == "none" else hmac.digest(public, signed, hashlib.sha256)
    text = signed + b"." + urlsafe_b64encode(seal).rstrip(b"=")
    with pytest.raises(Refused, match="no signature of a kind that counts"):
        read(text.decode())


def test_a_key_that_is_not_the_institutions_is_not_found():
    """By another id, with the id of one of its own, without any id, or of another use."""
    foreign = RSAKey.generate_key(2048, {"kid": "foreign"}, private=True)
    with pytest.raises(UnknownKey):
        read(token(key=foreign))
    with pytest.raises(Refused, match="not signed"):
        read(token(key=foreign, kid="rsa"))
    encrypting = {"keys": [{**KEYS["RS256"].as_dict(private=False), "use": "enc"}]}
    for jwks in (encrypting, {}, {"keys": None}, {"keys": ["rsa", 1]}):
        with pytest.raises(UnknownKey):
            read(token(), jwks)


def test_a_short_key_is_refused():
    """1024 bits are nobody's signature any more."""
    short = RSAKey.generate_key(1024, {"kid": "short"}, private=True)
    with pytest.raises(Refused, match="not signed"):
        read(token(key=short), {"keys": [short.as_dict(private=False)]})


def test_w19_only_issuers_of_the_settings_vouch_for_users():
    """Another service, registered and with keys of its own, signs that somebody is this gateway's admin.

    Naive, as in W19: every registered service can identify users, so its own keys and its word are enough.
    """
    service = RSAKey.generate_key(2048, {"kid": "storage-service"}, private=True)
    registry = {"https://storage.example": {"keys": [service.as_dict(private=False)]}}
    forged = token(key=service, iss="https://storage.example", sub="admin")
    forged_as_lab = token(key=service, kid="rsa", sub="admin")

    assert naive_user(forged, registry) == "admin"
    for text in (forged, forged_as_lab):
        with pytest.raises((Refused, UnknownKey)):
            read(text)
    everybodys = {"keys": [*JWKS["keys"], *registry["https://storage.example"]["keys"]]}
    with pytest.raises(Refused, match="another issuer made it"):
        read(forged, everybodys)


def naive_user(text: str, registry: dict[str, dict[str, object]]) -> str:
    """Whoever a token names that any registered service signed."""
    issuer = json.loads(jws.extract_compact(text.encode()).payload)["iss"]
    key = RSAKey.import_key(registry[issuer]["keys"][0])
    return str(json.loads(jws.deserialize_compact(text, key, algorithms=["RS256"]).payload)["sub"])


@pytest.mark.parametrize(
    ("rule", "person", "admitted"),
    [
        ({}, {}, True),
        ({"email_domains": ("lab.example",)}, {"email": "m@LAB.example", "email_verified": True}, True),
        ({"email_domains": ("lab.example",)}, {"email": "m@lab.example", "email_verified": False}, False),
        ({"email_domains": ("lab.example",), "trusts_email": True}, {"email": "m@lab.example"}, True),
        ({"email_domains": ("lab.example",)}, {"email": "m@lab.example.evil", "email_verified": True}, False),
        ({"email_domains": ("lab.example",)}, {"email": "lab.example", "email_verified": True}, False),
        ({"email_domains": ("lab.example",)}, {}, False),
        ({"subject_pattern": "mar.*"}, {}, True),
        ({"subject_pattern": "ari"}, {}, False),
    ],
)
def test_the_settings_say_who_is_let_in(rule, person, admitted):
    """By the domain of a verified address, and by the whole subject."""
    lab = Institution("lab", "Example Lab", LAB.issuer, "burst", lambda: "", **rule)
    somebody = Person(LAB.issuer, "maria", **person)
    if admitted:
        lab.admit(somebody)
    else:
        with pytest.raises(Refused):
            lab.admit(somebody)


def test_a_user_is_made_only_where_the_settings_say_so():
    """And only of a name that is one."""
    making = Institution("lab", "Example Lab", LAB.issuer, "burst", lambda: "", auto_create=True)
    names = ["maria", "m.curie-1", "Maria", "maria curie", "../maria", "", "x" * 33, None]
    assert [making.new_user_name(Person("i", "s", name)) for name in names] == ["maria", "m.curie-1"] + [None] * 6
    assert LAB.new_user_name(Person("i", "s", "maria")) is None
