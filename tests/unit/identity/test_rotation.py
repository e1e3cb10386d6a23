"""Rotation of the signing keys: an overlap in which old signatures hold, and none in which an old key signs."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.errors import JoseError

from gateway.accounting.settle import RECEIPT_TYPE
from gateway.errors import BadSignature, SetupError
from gateway.identity import jws
from gateway.identity.key_ring import KeyRing, verify_with
from gateway.identity.keys import make_key
from gateway.identity.sealing import Sealer, make_sealing_key
from gateway.identity.sessions import CERTIFICATE_TYPE

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
OAEP = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.MAX_LENGTH)
SEALER = Sealer(make_sealing_key())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def ring(path):
    return KeyRing.open(path, NOW, sealer=SEALER)


def claims(at: datetime) -> bytes:
    return json.dumps({"sub": "ada", "iat": int(at.timestamp())}).encode()


def test_f09_rotation_has_an_overlap(ring, path):
    """What the old key signed before the rotation still verifies; the new one signs; nothing dated later is the old's.

    The thief of the old key, a copy taken before the rotation, can sign what he likes: it is refused by its date.
    """
    stolen = ring.current
    certificate = ring.sign(claims(NOW), CERTIFICATE_TYPE, NOW)
    receipt = ring.sign(b'{"number":"1"}', RECEIPT_TYPE, NOW)
    ring.rotate(NOW + DAY)
    later = NOW + 2 * DAY

    assert ring.verify(certificate, CERTIFICATE_TYPE) == claims(NOW)
    assert ring.verify(receipt, RECEIPT_TYPE) == b'{"number":"1"}'
    assert jws.kid_of(ring.sign(claims(later), CERTIFICATE_TYPE, later)) == ring.current.kid != stolen.kid
    forged = jws.sign(claims(later), stolen.key, kid=stolen.kid, typ=CERTIFICATE_TYPE)
    with pytest.raises(BadSignature, match="outside the time"):
        ring.verify(forged, CERTIFICATE_TYPE)
    with pytest.raises(BadSignature, match="outside the time"):
        KeyRing.open(path, later, sealer=SEALER).verify(forged, CERTIFICATE_TYPE)
    with pytest.raises(BadSignature, match="outside the time"):
        verify_with(json.loads(json.dumps(ring.jwks())), forged, CERTIFICATE_TYPE)


def test_w12_a_key_of_the_past_is_of_no_more_use(ring, path):
    """Naive: every private key is kept and honoured for ever, so a copy of today signs, and reads, in the past's name.

    Ours: of a retired key only the public half is left, on the disk and in memory, and nothing is encrypted to a key
    that is kept; so a copy of today, even with today's sealing key, can do neither.
    """
    wanted, first = claims(NOW), ring.current
    token = ring.sign(wanted, "t", NOW)
    naive = {"old": rsa.generate_private_key(65537, 2048), "new": rsa.generate_private_key(65537, 2048)}
    recorded = naive["old"].public_key().encrypt(b"a recorded secret", OAEP)
    signed = naive["old"].sign(wanted, PSS, SHA256())
    naive["old"].public_key().verify(signed, wanted, PSS, SHA256())  # long after the rotation
    assert naive["old"].decrypt(recorded, OAEP) == b"a recorded secret"

    ring.rotate(NOW + DAY)
    copied = KeyRing.open(path, NOW + DAY, sealer=SEALER)
    old = copied.keys[0]
    assert (old.kid, old.retired) == (first.kid, True)
    with pytest.raises(JoseError, match="Invalid key_op 'sign' for public key"):
        jws.sign(wanted, old.key, kid=old.kid, typ="t")
    with pytest.raises(BadSignature):
        copied.verify(jws.sign(wanted, copied.current.key, kid=old.kid, typ="t"), "t")
    assert str(first.key.as_dict(private=True)["d"]) not in SEALER.open(path.read_text(), "file keys.json").decode()
    assert copied.verify(token, "t") == wanted


@pytest.mark.parametrize(
    ("dated", "good"),
    [(-2 * 60, False), (-30, True), (0, True), (24 * 60, True), (25 * 60, False), (48 * 60, False)],
)
def test_a_retired_key_verifies_its_own_time_only(ring, dated, good):
    """Minutes since it was made, retired after a day; a client may fetch a certificate an hour after its approval."""
    key, at = ring.current, NOW + timedelta(minutes=dated)
    token = jws.sign(claims(at), key.key, kid=key.kid, typ="t")
    ring.rotate(NOW + DAY)

    if good:
        assert ring.verify(token, "t") == claims(at)
    else:
        with pytest.raises(BadSignature, match="outside the time"):
            ring.verify(token, "t")


@pytest.mark.parametrize("payload", [b"{}", b"no JSON", b'{"iat": "now"}', b'{"iat": true}', b'{"iat": null}', b"[]"])
def test_a_token_without_a_date_is_none(ring, payload):
    """The ring dates what it signs; what carries no date was signed by somebody else who had the key."""
    key = ring.current
    with pytest.raises(BadSignature, match="when it was signed"):
        ring.verify(jws.sign(payload, key.key, kid=key.kid, typ="t"), "t")


def test_two_dates_must_both_be_good(ring):
    """A date in the claims does not hide the one in the header."""
    key, late = ring.current, int((NOW + 2 * DAY).timestamp())
    ring.rotate(NOW + DAY)
    with pytest.raises(BadSignature, match="outside the time"):
        ring.verify(jws.sign(claims(NOW), key.key, kid=key.kid, typ="t", iat=late), "t")


def test_a_running_gateway_takes_a_rotation_up(ring, path):
    """Another process rotates: without being opened again the ring signs with the new key and publishes both."""
    before = ring.sign(claims(NOW), "t", NOW)
    KeyRing.open(path, NOW, sealer=SEALER).rotate(NOW + MINUTE)
    after = ring.sign(claims(NOW + MINUTE), "t", NOW + MINUTE)

    assert jws.kid_of(before) != jws.kid_of(after)
    assert [key["kid"] for key in ring.jwks()["keys"]] == [jws.kid_of(after), jws.kid_of(before)]


def _rotate(path: Path, start: object) -> None:
    mine = KeyRing.open(path, NOW, sealer=SEALER)
    start.wait()  # type: ignore[attr-defined]
    for _ in range(5):
        mine.rotate(NOW + MINUTE)


def test_processes_that_rotate_at_once_lose_no_key(ring, path):
    """Four of them, five times each, and none of them over another's key."""
    forked = multiprocessing.get_context("fork")
    start = forked.Event()
    others = [forked.Process(target=_rotate, args=(path, start)) for _ in range(4)]
    for other in others:
        other.start()
    start.set()
    for other in others:
        other.join()

    assert [other.exitcode for other in others] == [0] * 4
    assert len({key.kid for key in ring.keys}) == 21
    assert [key.retired for key in ring.keys] == [True] * 20 + [False]


def test_keys_of_credentials_leave_when_the_last_credential_has_ended(path):
    """They are published for the longest life of a credential, then gone from the set and, next time, from the file."""
    ring = KeyRing.open(path, NOW, "ES256", sealer=SEALER, keeps_for=DAY)
    first = ring.current.kid
    second = ring.rotate(NOW + MINUTE).kid
    kids = [[key["kid"] for key in ring.jwks(NOW + MINUTE + wait)["keys"]] for wait in (DAY - MINUTE, DAY)]
    third = ring.rotate(NOW + 2 * DAY).kid

    assert kids == [[second, first], [second]]
    assert [key.kid for key in ring.keys] == [second, third]


def test_a_ring_is_of_no_use_without_the_sealing_key(ring, path, tmp_path):
    """Copied, altered, put in another's place, or opened with another key: one error each, and the file is left."""
    private, text = ring.current.key.as_dict(private=True)["d"], path.read_text()
    assert private not in text
    for sealer, why in ((None, "no sealing key"), (Sealer(make_sealing_key()), "another key")):
        with pytest.raises(SetupError, match=why):
            KeyRing.open(path, NOW, sealer=sealer)
    (tmp_path / "other.json").touch(mode=0o600)
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(SetupError, match=r"other\.json cannot be opened"):
        KeyRing.open(tmp_path / "other.json", NOW, sealer=SEALER)
    assert path.read_text() == text


def test_an_open_ring_is_not_taken_for_a_sealed_one(tmp_path):
    """Who can write the directory but has not the sealing key cannot slip a key of his own in."""
    path = tmp_path / "keys.json"
    KeyRing.open(path, NOW)
    with pytest.raises(SetupError, match="not sealed") as refused:
        KeyRing.open(path, NOW, sealer=SEALER)
    assert "burst keys rotate sealing" in str(refused.value.hint)


def test_a_key_that_only_says_that_it_retired_signs_nothing(ring):
    """What is left after retiring is the public half, whatever else the object says."""
    old = ring.current.retire(NOW)
    assert replace(old, not_after=NOW + DAY).retired
    assert not replace(old, key=make_key()).retired
