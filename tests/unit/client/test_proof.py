"""A proof holds without any gateway, after log-out and rotation, and not when anything in it is another."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.accounting.receipt_form import RECEIPT_TYPE, canonical
from gateway.cli.burst import run
from gateway.client import known_gateways
from gateway.client.proof import verify_proof
from gateway.errors import BadProof
from gateway.identity.certificates import certify_site
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import make_key, public_jwk
from gateway.identity.sessions import certificate, new_session
from gateway.identity.signature import open_request, sign_request
from gateway.identity.succession import fingerprint
from gateway.identity.users import Role, User
from gateway.wire.proofs import SEAL_TYPE

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ADA = User("ada", Role.USER, account="ada")
BODY = b'{"script":"#!/bin/sh\\ntrue\\n","script_name":"job.sh"}'


class Made:
    """A gateway's keys, and a proof that they made."""

    def __init__(self, folder, **request):
        self.ring = KeyRing.open(folder / "keys.json", NOW)
        self.key = make_key()
        self.session = new_session(ADA, public_jwk(self.key), NOW, timedelta(hours=1))
        self.certificate = certificate(self.session, ADA, self.ring, "http://gateway", "burst/a")
        at = request.pop("at", NOW + timedelta(minutes=5))
        token = sign_request(
            self.key, self.session.id, "POST", "/api/v1/jobs", BODY, "burst/a", at, max_spend_ucr=2_000_000
        )
        self.evidence = {
            "digest": open_request(token, self.key).digest,
            "jws": token,
            "kid": self.session.id,
            "method": "POST",
            "path": "/api/v1/jobs",
            "body": base64.b64encode(BODY).decode(),
            "public_key": public_jwk(self.key),
            "at": at.isoformat().replace("+00:00", "Z"),
        }
        self.receipt = {
            "number": "R-000001",
            "job": "f" * 32,
            "account": "ada",
            "offer": "small",
            "lines": [{"text": "1 node", "quantity": 90, "unit": "node-second", "amount_ucr": 30_000}],
            "held_ucr": 1_200_000,
            "charged_ucr": 30_000,
            "refunded_ucr": 1_170_000,
            "settled_at": NOW.isoformat(),
            "authorisation": self.evidence["digest"],
        }

    @property
    def trusted(self):
        """Every fingerprint of the gateway's."""
        return [fingerprint(key) for key in self.ring.jwks()["keys"]]

    def document(self, **changed):
        """The proof, signed and sealed over what was changed."""
        receipt = {**self.receipt, **changed.pop("receipt", {})}
        keys = [{name: key[name] for name in ("kty", "crv", "x", "kid")} for key in self.ring.jwks()["keys"]]
        document = {
            "form": "burst-proof/1",
            "audience": "burst/a",
            "job": 12,
            "receipt": receipt,
            "signature": self.ring.sign(canonical(receipt), RECEIPT_TYPE, NOW),
            "evidence": {**self.evidence, **changed.pop("evidence", {})},
            "certificate": self.certificate,
            "keys": keys,
            "successions": self.ring.successions,
            "exported_at": NOW.isoformat(),
            **changed,
        }
        digest = hashlib.sha256(canonical(document)).hexdigest().encode()
        return {**document, "seal": self.ring.sign(digest, SEAL_TYPE, NOW)}

    def content(self, **changed):
        return json.dumps(self.document(**changed)).encode()


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """One proof for all bytes that are flipped in it."""
    made = Made(tmp_path_factory.mktemp("kept"))
    return made.content(), made.trusted


def test_a_proof_says_who_ordered_what_and_at_what_price(made):
    """All of it, from the file and a fingerprint alone."""
    found = verify_proof(made.content(), made.trusted)

    assert (found.ordered_by, found.limit_ucr, found.job) == ("ada", 2_000_000, 12)
    assert found.ordered_at == NOW + timedelta(minutes=5)
    assert (found.receipt["charged_ucr"], found.body) == (30_000, BODY)
    assert found.key == made.trusted[0]


def test_it_holds_after_rotations(made):
    """A proof of before hangs from its key; one that is exported later hangs from any that leads to today's."""
    before, first = made.content(), made.trusted[0]
    certificate_of_then = made.certificate
    for _ in range(2):
        made.ring.rotate(NOW)
    after = made.content()

    assert verify_proof(before, made.trusted).ordered_by == "ada"
    for trusted in made.trusted:
        assert verify_proof(after, [trusted]).ordered_by == "ada"
    assert verify_proof(after, [first]).key == first
    assert made.certificate == certificate_of_then


def test_keys_of_the_file_alone_prove_nothing(made, tmp_path):
    """Whoever makes a whole proof with keys of their own is not the gateway."""
    (tmp_path / "eve").mkdir()
    forged = Made(tmp_path / "eve").content()

    with pytest.raises(BadProof, match="Nobody here knows") as refused:
        verify_proof(forged, made.trusted)
    assert "--fingerprint SHA256:" in str(refused.value.hint)


def test_the_gateways_key_beside_a_forgers_proves_nothing(made, tmp_path):
    """A real key in the list, that neither made nor leads to the one that sealed."""
    (tmp_path / "eve").mkdir()
    eve = Made(tmp_path / "eve")
    theirs = made.document()["keys"]

    for keys in ([*eve.document()["keys"], *theirs], [*theirs, *eve.document()["keys"]]):
        with pytest.raises(BadProof):
            verify_proof(eve.content(keys=keys), made.trusted)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_byte_of_a_proof_can_be_another(kept, data):
    """Flip any bit of the file: it is no proof any more, unless it reads the same."""
    content, trusted = kept
    place = data.draw(st.integers(0, len(content) - 1))
    altered = bytearray(content)
    altered[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        same = json.loads(bytes(altered)) == json.loads(content)
    except ValueError:
        same = False
    if same:
        return

    with pytest.raises(BadProof):
        verify_proof(bytes(altered), trusted)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"evidence": {"body": base64.b64encode(BODY + b" ").decode()}}, "another body"),
        ({"evidence": {"path": "/api/v1/quotes"}}, "another path"),
        ({"evidence": {"method": "PUT"}}, "another method"),
        ({"evidence": {"at": "2026-01-03T03:04:05Z"}}, "too old"),
        ({"evidence": {"kid": "other"}}, "another session"),
        ({"evidence": {"public_key": public_jwk(make_key())}}, "user's signature"),
        ({"evidence": {"digest": "0" * 64}}, "another request's digest"),
        ({"receipt": {"authorisation": "0" * 64}}, "another request than"),
        ({"receipt": {"charged_ucr": 40_000}}, "do not sum"),
        ({"receipt": {"held_ucr": 20_000}}, "More was charged"),
        ({"receipt": {"held_ucr": 2_000_001}}, "More was held"),
        ({"audience": "burst/b"}, "another audience"),
    ],
)
def test_not_even_the_gateway_can_change_what_a_user_signed(made, changed, why):
    """Sealed and signed anew by the gateway, what does not fit is found, and named."""
    with pytest.raises(BadProof, match=why):
        verify_proof(made.content(**changed), made.trusted)


def test_a_receipt_of_another_signature_is_found(made):
    """The receipt that was signed is the one that is shown."""
    shown = {**made.receipt, "account": "eve"}

    with pytest.raises(BadProof, match="not the one that was signed"):
        verify_proof(made.content(receipt=shown, signature=made.document()["signature"]), made.trusted)


@pytest.mark.parametrize("minutes", [-5, 61])
def test_a_request_outside_the_time_of_its_certificate_is_refused(tmp_path, minutes):
    """Before the login, or after the session's end."""
    made = Made(tmp_path, at=NOW + timedelta(minutes=minutes))

    with pytest.raises(BadProof, match="outside the time"):
        verify_proof(made.content(), made.trusted)


def test_a_certificate_of_somebody_elses_key_is_refused(made):
    """Eve's certificate does not make ada's order hers."""
    eve = User("eve", Role.USER, account="eve")
    session = new_session(eve, public_jwk(make_key()), NOW, timedelta(hours=1))
    theirs = certificate(session, eve, made.ring, "http://gateway", "burst/a")

    with pytest.raises(BadProof, match="another session"):
        verify_proof(made.content(certificate=theirs), made.trusted)


def test_what_came_by_a_sites_sbatch_is_told_as_such(made):
    """The site's key is certified; no user signed, and the proof says so."""
    token = sign_request(made.key, "site:slurm", "POST", "/site/jobs/12", BODY, "burst/a", NOW)
    digest = open_request(token, made.key).digest
    evidence = {"jws": token, "kid": "site:slurm", "path": "/site/jobs/12", "digest": digest,
                "at": "2026-01-02T03:04:05Z"}  # fmt: skip
    word = certify_site("slurm", public_jwk(made.key), made.ring, "burst/a", NOW)

    found = verify_proof(
        made.content(evidence=evidence, receipt={"authorisation": digest}, certificate=word), made.trusted
    )
    assert (found.ordered_by, found.by_site, found.limit_ucr) == ("slurm", True, None)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"form": "burst-proof/2"}', b"[" * 100_000])
def test_what_is_no_proof_is_one_clear_line(content):
    """Whatever the file holds."""
    with pytest.raises(BadProof, match="proof"):
        verify_proof(content, [])


def test_the_command_tells_it_as_json_too(made, tmp_path, monkeypatch, capsys):
    """With a key that a login met, or that is named; without either it ends with one line and code 1."""
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path / "config"))
    file = tmp_path / "proof.json"
    file.write_bytes(made.content())

    assert run(["verify", str(file)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run(["verify", str(file), "--json", "--fingerprint", made.trusted[0]]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["holds"], said["ordered_by"], said["receipt"]["charged_ucr"]) == (True, "ada", 30_000)
    known_gateways.remember("burst/a", made.document()["keys"])
    assert run(["verify", str(file)]) == 0
    assert "ada ordered job 12 (job.sh) on 2026-01-02 03:09:05 UTC" in capsys.readouterr().out
    file.write_text('{"number": "R-000001"}')
    assert run(["verify", str(file)]) == 1
    assert "--evidence" in capsys.readouterr().err
