"""Who may knock: every request that is unsigned, altered, stale, replayed or of an ended session is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from fastapi.routing import APIRoute
from http_door import API, SCRIPT, problem_of

from gateway.api import (
    accounts,
    audit,
    credentials,
    federation,
    identity,
    jobs,
    nodes,
    principals,
    publications,
    sessions,
    sharing,
    users,
)
from gateway.identity.keys import make_key, public_jwk

OPEN = {
    ("POST", "/api/v1/sessions"),
    ("POST", "/api/v1/nodes/join"),
    ("POST", "/api/v1/device"),
    ("POST", "/api/v1/device/token"),
    ("POST", "/api/v1/principals/login"),
    ("POST", "/api/v1/visits"),
    ("POST", "/api/v1/users"),
    ("POST", "/api/v1/recovery"),
}
"""Endpoints that carry another proof in their body, or ask for one (RFC 8628)."""

PEOPLE = (accounts, audit, federation, identity, principals, sessions, users)
DOORS = (*PEOPLE, credentials, jobs, nodes, publications, sharing)
SIGNED = sorted(
    (method, route.path)
    for module in DOORS
    for route in module.router.routes
    if isinstance(route, APIRoute)
    for method in route.methods
    if (method, route.path) not in OPEN
)
QUOTE = f"{API}/quotes"
BODY = json.dumps({"script": SCRIPT}).encode()


def knock(visitor, authorization, *, method="POST", path=QUOTE, body=BODY):
    """Send these bytes with this header."""
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    return visitor.http.request(method, path, content=body, headers=headers)


@pytest.mark.parametrize(("method", "path"), SIGNED)
def test_an_unsigned_request_is_refused(door, method, path):
    """Every endpoint but login and join answers 401 and says how to prove oneself."""
    answer = door.http.request(method, path.replace("{job}", "12").replace("{account}", "demo"))

    problem_of(answer, 401, "bad_signature")
    assert answer.headers["www-authenticate"] == "Burst"


@pytest.mark.parametrize("authorization", ["Bearer x", "Burst", "Burst x", "Burst a.b.c", "Basic ZGVtbzpkZW1v", "é"])
def test_what_is_no_signature_is_refused(demo, authorization):
    """Other schemes and broken tokens are refused alike."""
    problem_of(knock(demo, authorization.encode()), 401, "bad_signature")


def test_a_well_signed_request_is_answered(demo):
    """The same request that the following tests spoil is good."""
    assert knock(demo, demo.sign("POST", QUOTE, BODY)).status_code == 200


@pytest.mark.parametrize("place", [0, len(BODY) // 2, len(BODY) - 1])
def test_a_flipped_byte_in_the_body_is_noticed(demo, place):
    """One bit of the body makes it another request."""
    altered = bytearray(BODY)
    altered[place] ^= 1

    answer = knock(demo, demo.sign("POST", QUOTE, BODY), body=bytes(altered))

    # What is no JSON any more is refused before anybody asks who sent it.
    assert answer.status_code in {401, 422}
    if answer.status_code == 401:
        assert problem_of(answer, 401, "bad_signature").field == "body"


def test_a_changed_value_in_the_body_is_noticed(demo):
    """A body that is as valid as the signed one is refused for its signature."""
    answer = knock(demo, demo.sign("POST", QUOTE, BODY), body=BODY.replace(b"time=1", b"time=9"))

    assert problem_of(answer, 401, "bad_signature").field == "body"


@pytest.mark.parametrize(
    ("field", "signed"),
    [
        ("path", {"path": f"{API}/jobs"}),
        ("path", {"path": f"{QUOTE}?cheap=1"}),
        ("method", {"method": "PUT"}),
        ("audience", {"audience": "burst/another/0123456789abcdef"}),
    ],
)
def test_a_signature_for_another_request_is_refused(demo, field, signed):
    """The refusal names what does not fit."""
    authorization = demo.sign(**{"method": "POST", "path": QUOTE, "body": BODY, **signed})

    assert problem_of(knock(demo, authorization), 401, "bad_signature").field == field


def test_a_query_that_was_added_is_noticed(demo):
    """The query belongs to what is signed."""
    authorization = demo.sign("GET", f"{API}/jobs?limit=1")

    answer = knock(demo, authorization, method="GET", path=f"{API}/jobs?limit=1&state=RUNNING", body=b"")

    assert problem_of(answer, 401, "bad_signature").field == "path"


def test_a_signature_by_another_key_is_refused(demo):
    """The session's name alone proves nothing."""
    problem_of(knock(demo, demo.sign("POST", QUOTE, BODY, key=make_key())), 401, "bad_signature")


@pytest.mark.parametrize("seconds", [-400, 400])
def test_a_stale_and_a_future_signature_are_refused(demo, seconds):
    """Beyond its lifetime and the clocks' difference, a signature is worth nothing."""
    when = datetime.now(UTC) + timedelta(seconds=seconds)

    problem = problem_of(knock(demo, demo.sign("POST", QUOTE, BODY, now=when)), 401, "signature_expired")

    assert "NTP" in problem.hint


def test_a_replayed_request_is_refused_and_changes_nothing(admin):
    """The very same bytes a second time give no second credit."""
    path, body = f"{API}/accounts/demo/credits", b'{"amount_ucr": 7, "memo": "once"}'
    authorization = admin.sign("POST", path, body)

    first = knock(admin, authorization, path=path, body=body)
    again = knock(admin, authorization, path=path, body=body)

    assert first.status_code == 200
    problem_of(again, 401, "signature_replayed")
    available = {one["account"]: one["available_ucr"] for one in admin.send("GET", "/balance").json()}
    assert available["demo"] == first.json()["available_ucr"]


def test_a_refused_request_uses_its_nonce_up(demo):
    """A request that failed for what it asks cannot be kept and used later."""
    body = json.dumps({"script": "no script"}).encode()
    authorization = demo.sign("POST", QUOTE, body)

    assert knock(demo, authorization, body=body).status_code == 422
    problem_of(knock(demo, authorization, body=body), 401, "signature_replayed")


def test_a_look_may_be_repeated(demo):
    """A GET changes nothing, so its signature may be sent again."""
    authorization = demo.sign("GET", f"{API}/whoami")
    answers = [knock(demo, authorization, method="GET", path=f"{API}/whoami", body=b"") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]


def test_an_ended_session_is_refused(door):
    """After logging out the key is worth nothing, and another session of the same user goes on."""
    leaving, staying = door.log_in("demo"), door.log_in("demo")

    assert leaving.send("DELETE", "/sessions/current").status_code == 204

    problem = problem_of(leaving.send("GET", "/whoami"), 401, "signature_expired")
    assert "burst login" in problem.hint
    assert staying.send("GET", "/whoami").status_code == 200


@pytest.mark.parametrize("who", [("demo", "wrong"), ("nobody-here", "wrong"), ("demo' OR 1=1 --", "x")])
def test_a_wrong_password_is_refused_without_telling_which_was_wrong(door, who):
    """An unknown user and a wrong password read the same."""
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    answer = door.http.post(f"{API}/sessions", json={"user": who[0], "password": who[1], "public_key": key})

    assert answer.status_code in {401, 403}
    assert answer.json()["detail"].replace(who[0], "") == _refusal(door, key)


@pytest.mark.parametrize(
    "key", [{}, {"kty": "OKP"}, {"kty": "RSA", "n": "x", "e": "AQAB"}, {"kty": "oct", "k": "AAAA"}]
)
def test_a_key_that_is_no_ed25519_key_is_refused(door, key):
    """A login with the right password and a useless key makes no session."""
    password = (door.settings.secrets_dir / "demo.password").read_text()

    answer = door.http.post(f"{API}/sessions", json={"user": "demo", "password": password, "public_key": key})

    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["hint"]


@pytest.mark.parametrize("token", ["", "guess", "x" * 43])
@pytest.mark.parametrize("node", ["large-2", "no-such-node"])
def test_a_machine_without_the_token_does_not_join(door, demo, node, token):
    """Nobody gets Slurm's key for a node's name alone, nor learns whether there is such a node; it is an alarm."""
    key, path = make_key(), f"{API}/nodes/join"
    body = json.dumps({"node": node, "token": token, "public_key": public_jwk(key)}).encode()
    alarms = door.http.get("/metrics").text

    proof = demo.sign("POST", path, body, key=key, kid=f"node:{node}:1")
    # From an address of its own: others may have used up what one may be refused in a minute.
    with from_address(door, "127.0.0.2") as elsewhere:
        answer = elsewhere.post(
            path, content=body, headers={"Authorization": proof, "Content-Type": "application/json"}
        )

    problem = problem_of(answer, 401, "bad_signature")
    assert problem.detail == "This invitation is not valid."
    assert "munge" not in answer.text
    assert "a join was refused" in door.log()
    assert _refused_joins(door.http.get("/metrics").text) == _refused_joins(alarms) + 1


@pytest.mark.parametrize("key", [{}, {"kty": "oct", "k": "AAAA"}, {"kty": "OKP", "crv": "Ed25519", "x": "A", "d": "A"}])
def test_a_machine_with_a_useless_key_does_not_join(door, key):
    """A private key least of all."""
    with from_address(door, "127.0.0.3") as elsewhere:
        answer = elsewhere.post(f"{API}/nodes/join", json={"node": "small-1", "token": "guess", "public_key": key})

    assert answer.status_code == 401


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 AAAA\nevil ssh-ed25519 AAAA", "ssh-ed25519 A A"])
def test_a_host_key_that_is_none_is_refused(door, line):
    """Known-hosts files of people get what a node reported: one key a line, nothing else."""
    key = public_jwk(make_key())
    body = {"node": "small-1", "token": "guess", "public_key": key, "ssh_host_keys": [line]}

    assert door.http.post(f"{API}/nodes/join", json=body).status_code == 422


def from_address(door, address):
    return httpx2.Client(base_url=door.url, transport=httpx2.HTTPTransport(local_address=address))


def _refused_joins(metrics):
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("burst_join_alarms_total"))


def _refusal(door, key):
    answer = door.http.post(f"{API}/sessions", json={"user": "other", "password": "wrong", "public_key": key})
    return answer.json()["detail"].replace("other", "")
