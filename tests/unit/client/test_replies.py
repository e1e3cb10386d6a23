"""What a client believes: answers that its gateway signed for the very request, and errors of a closed list."""

from __future__ import annotations

import importlib
import shutil
from datetime import UTC, datetime

import httpx2
import pytest
from stub_gateway import AUDIENCE, PASSWORD, problem

from gateway import errors
from gateway.client import known_gateways, pin
from gateway.client import profile as profiles
from gateway.client.problems import classes, from_problem
from gateway.client.session import Session, demand_fingerprint
from gateway.errors import BadReply, BurstError, GatewayUnavailable, NotFound
from gateway.identity.key_ring import KeyRing
from gateway.identity.replies import REPLY_HEADER
from gateway.identity.succession import fingerprint, lineage
from gateway.wire import Problem

UNITS = "GET /api/v1/units"


@pytest.fixture
def asked(stub, session):
    """A session whose next question is answered."""
    stub.on(UNITS, (200, []))
    return session


def tampered(session: Session, **change):
    """The session behind somebody who changes answers: body, status or header."""

    def change_it(response: httpx2.Response) -> None:
        response.read()
        if "body" in change:
            response._content = change["body"]
        if "status" in change:
            response.status_code = change["status"]
        if "signature" in change:
            response.headers.pop(REPLY_HEADER, None)
            if change["signature"]:
                response.headers[REPLY_HEADER] = change["signature"]

    session._http.event_hooks = {"response": [change_it]}
    return session


def test_f10_a_genuine_answer_is_believed(asked):
    """Answers, and refusals too, carry the signature of the key that was met at login."""
    assert asked.get("/units", list) == []
    with pytest.raises(NotFound):
        asked.get("/nowhere", list)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"body": b"[1]"}, "another body"),
        ({"status": 201}, "another status"),
        ({"signature": None}, "not signed"),
        ({"signature": "a.b.c"}, "signature"),
    ],
)
def test_f10_an_altered_answer_is_a_clear_error(asked, change, why):
    """One line says what is wrong and that nothing was believed."""
    with pytest.raises(BadReply, match=why) as refused:
        tampered(asked, **change).get("/units", list)
    assert refused.value.hint


def test_f10_every_byte_of_an_answer_counts(asked, stub):
    """Flipped one at a time, in body and header."""
    stub.on(UNITS, (200, ["abc"]))
    answer = asked.request("GET", "/units")
    token = answer.request.headers["Authorization"].partition(" ")[2]
    keys, http, header = asked.profile.gateway_keys, asked._http, answer.headers[REPLY_HEADER]
    pin.believe(answer, token, keys, http)
    for place in range(len(answer.content)):
        body = bytearray(answer.content)
        body[place] ^= 1
        forged = httpx2.Response(200, headers={REPLY_HEADER: header}, content=bytes(body))
        with pytest.raises(BadReply):
            pin.believe(forged, token, keys, http)
    for place in range(len(header)):
        other = header[:place] + ("A" if header[place] != "A" else "B") + header[place + 1 :]
        forged = httpx2.Response(200, headers={REPLY_HEADER: other}, content=answer.content)
        with pytest.raises(BadReply):
            pin.believe(forged, token, keys, http)


def test_w11_a_replayed_answer_is_refused(asked, stub):
    """Naive: what was once a gateway's answer stays one. Ours: it was the answer to another request."""
    stub.on(UNITS, (200, ["old"]))
    old = asked.request("GET", "/units")
    assert old.json() == ["old"]  # a naive client would read a replay of it just as well

    stub.on(UNITS, (200, ["new"]))
    with pytest.raises(BadReply, match="another request"):
        tampered(asked, body=old.content, signature=old.headers[REPLY_HEADER]).get("/units", list)


def test_an_unsigned_failure_is_a_failure_and_nothing_more(asked, stub):
    """A proxy between us cannot sign its 502; it is an error whatever it says, and never a result."""
    stub.signs = False
    stub.on(UNITS, (502, "<html>"))

    with pytest.raises(GatewayUnavailable):
        asked.get("/units", list)


def test_a_rotation_is_followed_and_kept(stub):
    """The old key vouches for the new one; later commands start with it, and the old one is known still."""
    with Session.login(stub.url, "demo", PASSWORD) as session:
        session.save()
    before = session.profile.gateway_keys[0]["kid"]
    stub.on(UNITS, (200, []))
    for _ in range(2):
        stub.ring.rotate(datetime.now(UTC))

    with Session.saved() as later:
        assert later.get("/units", list) == []
    kept = profiles.load(profiles.profile_path()).gateway_keys

    assert kept[0]["kid"] == stub.ring.current.kid
    assert kept[-1]["kid"] == before
    assert [key["kid"] for key in known_gateways.keys_of(AUDIENCE)] == [key["kid"] for key in kept]


def test_a_key_that_nobody_vouches_for_is_refused(asked, stub, tmp_path):
    """Another gateway's key, published under this one's name, signs nothing here."""
    stub.__dict__["ring"] = KeyRing.open(tmp_path / "other.json", datetime.now(UTC))

    with pytest.raises(BadReply, match="not the gateway's"):
        asked.get("/units", list)


def test_an_old_key_signs_nothing_after_its_successor_was_met(asked, stub):
    """Whoever steals a retired key cannot answer with it."""
    old = asked.profile.gateway_keys[0]
    stolen = stub.folder / "stolen.json"
    shutil.copy(stub.folder / "keys.json", stolen)
    stub.ring.rotate(datetime.now(UTC))
    asked.get("/units", list)
    stub.__dict__["ring"] = KeyRing.open(stolen, datetime.now(UTC))
    assert stub.ring.current.kid == old["kid"]

    with pytest.raises(BadReply):
        asked.get("/units", list)


def test_a_changed_key_is_noticed_at_the_next_login(stub, tmp_path):
    """As with SSH: logged out meanwhile or not. Its fingerprint, given by hand, is the way out."""
    with Session.login(stub.url, "demo", PASSWORD) as session:
        session.save()
        profiles.remove(profiles.profile_path())
    stub.__dict__["ring"] = KeyRing.open(tmp_path / "other.json", datetime.now(UTC))

    with pytest.raises(BadReply, match="does not vouch") as refused:
        Session.login(stub.url, "demo", PASSWORD)
    assert "--fingerprint" in str(refused.value.hint)

    new = fingerprint(stub.ring.jwks()["keys"][0])
    assert demand_fingerprint(stub.url, new) == new
    assert Session.login(stub.url, "demo", PASSWORD).profile.gateway_keys[0]["kid"] == stub.ring.current.kid


def test_a_demanded_fingerprint_is_asked_before_the_password(stub):
    """A gateway of another key gets no password; one that follows the demanded key does."""
    first = fingerprint(stub.ring.jwks()["keys"][0])
    stub.ring.rotate(datetime.now(UTC))

    assert demand_fingerprint(stub.url, first) == fingerprint(stub.ring.jwks()["keys"][0])
    with pytest.raises(BadReply, match="not SHA256:x"):
        demand_fingerprint(stub.url, "SHA256:x")
    assert not stub.requests("POST /api/v1/sessions")


def test_a_login_certified_by_another_key_is_not_kept(stub, monkeypatch, tmp_path):
    """Who passes on the gateway's keys but not its certificate has not the gateway behind them."""
    other = KeyRing.open(tmp_path / "other.json", datetime.now(UTC))
    monkeypatch.setattr("stub_gateway.certificate", lambda *_words: other.sign(b"{}", "burst-session+jwt", _now()))

    with pytest.raises(BadReply, match="did not certify"):
        Session.login(stub.url, "demo", PASSWORD)


def test_succession_goes_forward_only(tmp_path):
    """A new key says nothing of an older one, and a statement by another key is none."""
    ring, other = (KeyRing.open(tmp_path / name, _now()) for name in ("a.json", "b.json"))
    first = ring.jwks()["keys"][0]
    for each in (ring, other):
        each.rotate(_now())
    newest = ring.jwks()["keys"][0]

    assert [key["x"] for key in lineage(first, ring.successions)] == [first["x"], newest["x"]]
    assert len(lineage(newest, ring.successions)) == 1
    assert len(lineage(first, other.successions)) == 1
    again = KeyRing.open(tmp_path / "a.json", _now())
    assert again.successions == ring.successions


@pytest.mark.parametrize("code", ["os.system", "subprocess:run", "__import__", "builtins.eval", "BurstError", ""])
def test_w02_errors_are_a_closed_list(code):
    """Naive: the class is looked up by the name in the answer. Ours: an unknown code is the plain error."""
    module, _, name = "os.system".rpartition(".")
    assert getattr(importlib.import_module(module), name)  # naive: any callable, called with the attacker's text

    error = from_problem(Problem(title="x", status=400, detail="echo pwned", code=code))

    assert type(error) is BurstError
    assert error.detail == "echo pwned"
    assert set(classes().values()) <= {
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BurstError)
    }


def test_w02_an_error_is_verified_before_it_is_read(asked, stub):
    """An answer whose signature does not hold is not even looked into."""
    stub.on(UNITS, (404, problem("not_found", 404, "gone")))

    with pytest.raises(BadReply):
        tampered(asked, body=b'{"code": "os.system"}').get("/units", list)


def _now() -> datetime:
    return datetime.now(UTC)
