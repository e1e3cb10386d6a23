"""The gateway's signing keys: private, limited in time, verifiable for ever."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from gateway.errors import BadSignature, SetupError
from gateway.identity.issuer import configuration
from gateway.identity.key_ring import SIGNS_FOR, KeyRing, verify_with
from gateway.identity.keys import read_public, thumbprint

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def ring(tmp_path):
    return KeyRing.open(tmp_path / "keys.json", NOW)


@pytest.mark.usefixtures("ring")
def test_only_its_owner_can_read_the_file(tmp_path):
    """It is made with mode 0600, and nothing else is left beside it."""
    assert [(file.name, file.stat().st_mode & 0o777) for file in tmp_path.iterdir()] == [("keys.json", 0o600)]


@pytest.mark.usefixtures("ring")
def test_a_file_that_others_can_read_is_refused(tmp_path):
    """The hint says how to put it right."""
    (tmp_path / "keys.json").chmod(0o640)

    with pytest.raises(SetupError, match="Others can read") as refused:
        KeyRing.open(tmp_path / "keys.json", NOW)
    assert "chmod 600" in str(refused.value.hint)


@pytest.mark.parametrize("text", ["", "{}", '{"keys": []}', '{"keys": [{"jwk": {}}]}', "[]"])
def test_a_broken_file_is_not_replaced(tmp_path, text):
    """A new key would make every old signature unverifiable; the user is told instead."""
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(SetupError):
        KeyRing.open(path, NOW)
    assert path.read_text() == text


def test_opening_again_gives_the_same_key(ring, tmp_path):
    """A restart signs with the key that it had."""
    assert KeyRing.open(tmp_path / "keys.json", NOW).current.kid == ring.current.kid


def test_a_key_is_named_by_its_thumbprint(ring):
    """RFC 7638, as another program computes it from the published key."""
    published = ring.jwks()["keys"][0]

    assert published["kid"] == thumbprint(read_public(published))
    assert set(published) == {"kty", "crv", "x", "kid", "use", "alg"}


def test_a_retired_key_still_verifies(ring, tmp_path):
    """After a rotation new tokens have the new key, old ones still verify, also after a restart."""
    old = ring.sign(b"old", "t", NOW)
    ring.rotate(NOW)
    new = ring.sign(b"new", "t", NOW)

    again = KeyRing.open(tmp_path / "keys.json", NOW)
    assert (again.verify(old, "t"), again.verify(new, "t")) == (b"old", b"new")
    assert again.current.kid == again.jwks()["keys"][0]["kid"] == ring.current.kid


def test_a_key_is_replaced_when_its_time_is_over(ring):
    """Signing after its last day makes a new key first."""
    first = ring.current.kid
    ring.sign(b"x", "t", NOW + SIGNS_FOR - timedelta(seconds=1))
    assert ring.current.kid == first

    ring.sign(b"x", "t", NOW + SIGNS_FOR)
    assert ring.current.kid != first


def test_anybody_can_verify_with_the_published_keys(ring):
    """The JWK Set is enough, and holds nothing private."""
    published = json.loads(json.dumps(ring.jwks()))

    assert verify_with(published, ring.sign(b"x", "t", NOW), "t") == b"x"
    assert '"d"' not in json.dumps(published)


def test_another_gateways_token_is_refused(ring, tmp_path):
    """Its key is not in the ring."""
    other = KeyRing.open(tmp_path / "other.json", NOW)

    with pytest.raises(BadSignature, match="no such key"):
        ring.verify(other.sign(b"x", "t", NOW), "t")


def test_a_token_of_another_type_is_refused(ring):
    """A receipt is no credential."""
    with pytest.raises(BadSignature, match="another purpose"):
        ring.verify(ring.sign(b"x", "receipt", NOW), "credential")


def test_discovery_points_at_the_keys():
    """What an OIDC relying party reads first: issuer and jwks_uri belong together."""
    document = configuration("https://gateway.example")

    assert document["issuer"] == "https://gateway.example"
    assert document["jwks_uri"] == "https://gateway.example/.well-known/jwks.json"
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]


def test_a_ring_of_es256_signs_what_other_programs_verify(tmp_path):
    """Job credentials: P-256, published with its algorithm, the same after a restart, accepted by another library."""
    ring = KeyRing.open(tmp_path / "credentials.json", NOW, "ES256")
    token = KeyRing.open(tmp_path / "credentials.json", NOW, "ES256").sign(b'{"a": 1}', "at+jwt", NOW)
    published = ring.jwks()["keys"][0]

    assert (published["kty"], published["crv"], published["alg"]) == ("EC", "P-256", "ES256")
    assert "d" not in published
    assert verify_with(json.loads(json.dumps(ring.jwks())), token, "at+jwt") == b'{"a": 1}'
    assert jwt.decode(token, jwt.PyJWK(published), algorithms=["ES256"]) == {"a": 1}
    assert ring.rotate(NOW).key.curve_name == "P-256"
