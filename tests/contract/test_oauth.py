"""Credentials of real jobs at the gateway's door: narrowed, looked at, revoked, used; the store is rclone."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import scitokens
from fastapi.routing import APIRoute
from http_door import API, problem_of

from gateway.api import accounts, credentials, jobs, nodes, publications
from gateway.api import slurm as slurm_api
from gateway.bootstrap.rings import credential_keys
from gateway.bootstrap.sealing_key import sealer_of
from gateway.identity.credentials import CREDENTIAL_TYPE
from gateway.storage.database import Database

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FOR_JOBS = {f"{API}/job/presign", f"{API}/jobs/self/presign"}
PLACES = {"{account}": "demo", "{user}": "demo"}
REFUSED = {401, 403, 511}
"""slurmrestd refuses a token with the last."""
PATIENCE_S = 120
SCRIPT = """#!/bin/bash
#SBATCH --time=5
cd {folder}
cp "$BEARER_TOKEN_FILE" {name}.new && mv {name}.new {name}.token
until [ -e {name}.go ]; do sleep 0.1; done
"""


@dataclass
class Holder:
    """A running job, its credential, and whoever holds that."""

    door: Any
    visitor: Any
    id: str
    token: str
    go: Path

    @property
    def prefix(self) -> str:
        return f"/jobs/{self.id}/0"

    def exchange(self, token: str | None = None, **fields: str | None) -> httpx2.Response:
        """What curl would send; None leaves a field out."""
        form = {"grant_type": EXCHANGE, "subject_token": token or self.token, "subject_token_type": ACCESS_TOKEN}
        sent = {name: value for name, value in (form | fields).items() if value is not None}
        return self.door.http.post("/oauth/token", data=sent)

    def child(self, token: str | None = None, **fields: str) -> str:
        answer = self.exchange(token, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def look(self, token: str, by: str | None = None) -> dict[str, Any]:
        """Introspection, with a credential of the job."""
        proof = {"Authorization": f"Bearer {by or self.token}"}
        answer = self.door.http.post("/oauth/introspect", data={"token": token}, headers=proof)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def revoke(self, token: str, by: str | None = None) -> httpx2.Response:
        proof = {"Authorization": f"Bearer {by or self.token}"}
        return self.door.http.post("/oauth/revoke", data={"token": token}, headers=proof)

    def presign(self, token: str | None = None, **paths: list[str]) -> httpx2.Response:
        proof = {"Authorization": f"Bearer {token or self.token}"}
        return self.door.http.post(f"{API}/job/presign", json=paths, headers=proof)


def signed_form(visitor, path, **fields):
    """A signed request of a user, with a form for its body."""
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    return visitor.http.post(path, content=body, headers=FORM | {"Authorization": visitor.sign("POST", path, body)})


@pytest.fixture(scope="module")
def start(door, demo, tmp_path_factory):
    """Starts jobs that hand their credential out and run until they are let go; all end with the module."""
    folder = tmp_path_factory.mktemp("holders")
    folder.chmod(0o777)
    begun: list[Holder] = []

    def begin(visitor=demo) -> Holder:
        name = f"job{len(begun)}"
        answer = visitor.submit(SCRIPT.format(folder=folder, name=name))
        assert answer.status_code == 201, answer.text
        token = folder / f"{name}.token"
        until(token.exists, f"{name} runs")
        begun.append(Holder(door, visitor, answer.json()["burst_id"], token.read_text(), folder / f"{name}.go"))
        return begun[-1]

    yield begin
    for holder in begun:
        holder.go.touch()
    for holder in begun:
        until(lambda one=holder: ended(one), f"{holder.id} ended")


@pytest.fixture(scope="module")
def job(start) -> Holder:
    """A job that runs on through the module."""
    return start()


def until(true, what):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := true()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def ended(holder):
    return holder.visitor.send("GET", f"/jobs/{holder.id}").json()["finished"]


def claims(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def audited(door, action, text):
    """Outcomes of what the audit log tells of an action, where its text contains ``text``."""
    database = Database(door.settings.database_url)
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT action, outcome, text FROM audit_records").all()
    database.close()
    return [outcome for what, outcome, said in rows if what == action and text in said]


def test_f13_a_job_narrows_its_credential_for_a_child(door, job, tmp_path, monkeypatch):
    """RFC 8693's answer; scitokens verifies the child by discovery alone and enforces its narrower scopes."""
    scope = f"storage.read:{job.prefix}/objects/in"
    answer = job.exchange(scope=scope, expires_in="60")
    said = answer.json()

    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert said | {"access_token": ""} == {
        "access_token": "",
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": said["expires_in"],
        "scope": scope,
    }
    assert 55 <= said["expires_in"] <= 60
    child, parent = claims(said["access_token"]), claims(job.token)
    assert child["act"] == {"sub": f"credential:{parent['jti']}"}
    assert {name for name in parent if child[name] != parent[name]} <= {"iat", "nbf", "exp", "jti", "scope"}
    assert audited(door, "token.exchange", child["jti"]) == ["done"]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    token = scitokens.SciToken.deserialize(said["access_token"], audience=child["aud"], insecure=True)
    enforcer = scitokens.Enforcer(door.url, audience=child["aud"])
    enforcer.add_validator("wlcg.ver", lambda version: version == "1.0")
    for claim in ("burst_job", "burst_attempt", "burst_node", "act"):
        enforcer.add_validator(claim, bool)
    # scitokens wants a token to be older than the moment.
    until(lambda: enforcer.test(token, "storage.read", f"{job.prefix}/objects/in/x"), enforcer.last_failure)
    for other in (f"{job.prefix}/objects/other", f"{job.prefix}/objects/in2", "/jobs/0/0/x"):
        assert not enforcer.test(token, "storage.read", other)
    assert not enforcer.test(token, "storage.create", f"{job.prefix}/objects/in/x")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token": "a.b.c"}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"actor_token": "x", "actor_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"audience": "https://elsewhere.example"}, "invalid_target"),
        ({"resource": "https://elsewhere.example/"}, "invalid_target"),
        ({"scope": "storage.read:/"}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "compute.cancel  compute.cancel"}, "invalid_scope"),
        ({"scope": 'storage.read:/ä "\\'}, "invalid_scope"),
        ({"expires_in": "0"}, "invalid_request"),
        ({"expires_in": "-1"}, "invalid_request"),
        ({"expires_in": "٣"}, "invalid_request"),
        ({"expires_in": "9" * 5000}, "invalid_request"),
    ],
)
def test_a_bad_exchange_is_refused_as_the_rfcs_have_it(job, fields, code):
    """JSON with error and error_description in plain ASCII (RFC 6749 section 5.2), not to be stored."""
    answer = job.exchange(**fields)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert (answer.headers["cache-control"], answer.headers["content-type"]) == ("no-store", "application/json")
    assert set(answer.json()) == {"error", "error_description"}
    assert all(" " <= char <= "~" and char not in '"\\' for char in answer.json()["error_description"])


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect", "/oauth/revoke"])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"grant_type=x&grant_type=x&token=a&token=b", FORM),
        (b"%ff=%ff", FORM),
        (b"\xff\xfe", FORM),
        (b"", FORM),
        (b'{"grant_type": "x"}', {"Content-Type": "application/json"}),
        (b"a=" + b"x" * 40_000, FORM),
        (b"&".join(b"a=1" for _ in range(2000)), FORM),
    ],
)
def test_whatever_is_sent_the_answer_is_one_of_oauths(door, path, body, headers):
    """No 5xx, no traceback; a token in a URL is not read."""
    answer = door.http.post(path, content=body, headers=headers, params={"token": "x", "subject_token": "y"})
    assert answer.status_code in {400, 401}
    assert answer.json()["error"] in {"invalid_request", "invalid_client", "unsupported_grant_type"}
    assert door.http.get(path).status_code == 405


def test_who_may_look_at_a_credential(door, demo, admin, stranger, job, start):
    """The job at its own and its children's, the owner and an administrator; others learn nothing, not even that."""
    child = job.child(scope=f"storage.read:{job.prefix}")
    said = job.look(job.token)
    assert (said["active"], said["burst_job"], said["sub"]) == (True, job.id, "demo")
    assert job.look(child)["scope"] == f"storage.read:{job.prefix}"
    assert job.look(child, by=child)["active"] is True
    for visitor in (demo, admin):
        assert signed_form(visitor, "/oauth/introspect", token=child).json()["active"] is True
    dead = {"active": False}
    assert job.look(job.token, by=child) == dead
    assert start().look(job.token) == dead
    assert signed_form(stranger, "/oauth/introspect", token=child).json() == dead
    for token in ("x", "a.b.c", child[:-4] + "AAAA"):
        assert job.look(token) == dead
    for proof in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic ZGVtbzpkZW1v"}):
        answer = door.http.post("/oauth/introspect", data={"token": child}, headers=proof)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_with_a_credential_all_that_came_from_it_ends(door, job):
    """Children and theirs, at once; the parent and its other child go on; a child cannot end its parent."""
    child, other = job.child(), job.child()
    grandchild = job.child(child)
    refused = job.revoke(job.token, by=child)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert job.revoke(child).status_code == 200
    assert [job.look(token)["active"] for token in (job.token, other, child, grandchild)] == [True, True, False, False]
    assert job.exchange(grandchild).json()["error"] == "invalid_request"
    assert job.presign(grandchild, get=[f"{job.prefix}/x"]).status_code == 401
    for dead in (child, grandchild, "unknown"):
        assert job.revoke(dead).status_code == 200
    assert audited(door, "token.revoke", claims(child)["jti"]) == ["done"]
    assert audited(door, "token.revoke", claims(job.token)["jti"]) == ["refused"]


def test_the_owner_ends_all_of_a_jobs_credentials(demo, stranger, start):
    """One by one or all at once, by a signed request; a stranger finds no such job."""
    holder = start()
    child, other = holder.child(), holder.child()
    assert signed_form(stranger, "/oauth/revoke", token=child).json()["error"] == "invalid_grant"
    assert signed_form(demo, "/oauth/revoke", token=child).status_code == 200
    assert [holder.look(token)["active"] for token in (child, other)] == [False, True]
    problem_of(stranger.send("POST", f"/jobs/{holder.id}/revoke-credential"), 404, "not_found")
    assert demo.send("POST", f"/jobs/{holder.id}/revoke-credential").json()["state"] == "RUNNING"
    assert signed_form(demo, "/oauth/introspect", token=other).json() == {"active": False}
    assert holder.presign(get=[f"{holder.prefix}/x"]).status_code == 401
    assert demo.send("GET", f"/jobs/{holder.id}").json()["state"] == "RUNNING"


def test_f13_a_credential_dies_at_scancel(door, demo, start):
    """At once, with its children, and its job's outputs are staged out all the same: by the node, in its own name."""
    holder = start()
    child = holder.child()
    assert demo.send("POST", f"/jobs/{holder.id}/cancel").status_code == 200
    for token in (holder.token, child):
        assert holder.exchange(token).json()["error"] == "invalid_request"
        assert signed_form(demo, "/oauth/introspect", token=token).json() == {"active": False}
        problem_of(holder.presign(token, get=[f"{holder.prefix}/x"]), 401, "signature_expired")
    until(lambda: ended(holder), "it ended")
    files = demo.send("GET", f"/jobs/{holder.id}/outputs").json()["files"]
    assert [file["path"].partition("-")[0] for file in files] == ["slurm"]


def test_f13_a_credential_dies_at_the_jobs_end(demo, start):
    """When its outputs are in the store: what it PUT by itself is among them, and nothing it held opens any more."""
    holder = start()
    child = holder.child(scope=f"storage.create:{holder.prefix}/objects/deep")
    (url,) = holder.presign(child, put=[f"{holder.prefix}/objects/deep/made.txt"]).json()["put"]
    assert httpx2.put(url, content=b"made by a child").status_code == 200
    holder.go.touch()
    until(lambda: ended(holder), "it ended")
    for token in (holder.token, child):
        assert holder.exchange(token).json()["error"] == "invalid_request"
        assert holder.presign(token, put=[f"{holder.prefix}/objects/deep/late"]).status_code == 401
    files = {file["path"]: file["url"] for file in demo.send("GET", f"/jobs/{holder.id}/outputs").json()["files"]}
    assert httpx2.get(files["deep/made.txt"]).content == b"made by a child"


def test_f13_a_credential_reads_its_inputs_and_writes_its_outputs_only(door, job, start):
    """Presigned requests on a store without policies: for objects inside the scopes, however a path is spelled."""
    sibling = start()
    (url,) = job.presign(put=[f"{job.prefix}/objects/a b/ä?#%.txt"]).json()["put"]
    assert httpx2.put(url, content=b"mine").status_code == 200
    (url,) = job.presign(get=[f"{job.prefix}/objects/a b/ä?#%.txt"]).json()["get"]
    assert httpx2.get(url).content == b"mine"
    assert httpx2.put(url, content=b"a URL is for one method").status_code == 403
    # Another object's key under a URL's signature, and a listing by it.
    parts = httpx2.URL(url)
    assert httpx2.get(parts.copy_with(raw_path=parts.raw_path.replace(b"/0/objects", b"/0/files"))).status_code == 403
    own, other = job.prefix, sibling.prefix
    reads = [f"{other}/objects/x", f"{own}/../..{other}/x", f"{own}x", "/", "", "/inputs/demo/0", "/site.key", own[1:]]
    reads += [f"{own}//x", f"{own}/./x", f"{own}/%2e%2e/x".replace("%2e", "."), own.upper()]
    for path in reads:
        assert job.presign(get=[path]).status_code in {403, 422}, path
    writes = [f"{own}/files/small-1/x", f"{own}/manifest.json", f"{own}/live/stdout", f"{own}/objects/../x"]
    for path in (*reads, *writes, f"{own}/objects", f"{own}/objects/"):
        assert job.presign(put=[path]).status_code in {403, 422}, path
    narrow = job.child(scope=f"storage.read:{own}/objects/one")
    assert job.presign(narrow, get=[f"{own}/objects/one"]).status_code == 200
    assert job.presign(narrow, get=[f"{own}/objects/a b/ä?#%.txt"]).status_code == 403
    assert job.presign(narrow, put=[f"{own}/objects/one"]).status_code == 403


def test_w17_a_capability_for_one_file_opens_no_other_file_of_the_store(door, job):
    """The naive URL is good for the whole drive, as one made with the store's own key is; ours for the one file."""
    first, second = f"{job.prefix}/objects/w17-first", f"{job.prefix}/objects/w17-second"
    for path in (first, second):
        (url,) = job.presign(put=[path]).json()["put"]
        assert httpx2.put(url, content=path.encode()).status_code == 200
    child = job.child(scope=f"storage.read:{first}")
    drive = first.split("/")[2]

    def naive(token, path):
        """Only the drive's name is compared."""
        return drive in claims(token)["scope"] and path.split("/")[2] == drive

    assert naive(child, second)
    (url,) = job.presign(child, get=[first]).json()["get"]
    assert httpx2.get(url).text == first
    assert job.presign(child, get=[second]).status_code == 403
    stolen = httpx2.URL(url)
    other = stolen.copy_with(raw_path=stolen.raw_path.replace(b"w17-first", b"w17-second"))
    assert httpx2.get(other).status_code == 403


def test_f13_a_credential_opens_no_endpoint_but_a_jobs_own(door, job):
    """It can neither submit nor list nor anything: every endpoint of users, nodes and Slurm's REST API is tried."""
    ours = (accounts.router, jobs.router, nodes.router, publications.router, credentials.router, slurm_api.native)
    routers = (*ours, slurm_api.router)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    routes = [route for route in routes if "{rest:path}" not in route.path]  # there is nothing, it says to everybody
    tried = {(method, route.path) for route in routes for method in route.methods} - {
        ("POST", f"{API}/{open_to_all}") for open_to_all in ("sessions", "device", "device/token", "nodes/join")
    }
    proof = {"Authorization": f"Bearer {job.token}"}
    opened = set()
    for method, path in sorted(tried):
        place = re.sub(r"\{[a-z]+\}", lambda name: PLACES.get(name[0], "x"), path.replace("{job}", job.id))
        for shown in (proof, {"X-SLURM-USER-TOKEN": job.token}):
            if door.http.request(method, place, headers=shown).status_code not in REFUSED:
                opened.add(path)
    assert opened == FOR_JOBS
    assert len(tried) > 30


def test_f13_a_credential_is_for_the_node_that_it_names(door, job):
    """Signed by the gateway for a node on which the job does not run, it is void at every door."""
    ring = credential_keys(door.settings, sealer_of(door.settings))
    elsewhere = ring.sign(
        json.dumps(claims(job.token) | {"burst_node": "small-99"}).encode(), CREDENTIAL_TYPE, datetime.now(UTC)
    )
    assert job.look(elsewhere) == {"active": False}
    assert job.exchange(elsewhere).json()["error"] == "invalid_request"
    assert job.presign(elsewhere, get=[f"{job.prefix}/x"]).status_code == 401
    body = {"paths": ["files/small-99/x"]}
    forged = {"Authorization": f"Bearer {elsewhere}"}
    assert door.http.post(f"{API}/jobs/self/presign", json=body, headers=forged).status_code == 401
    own = {"Authorization": f"Bearer {job.token}"}
    assert door.http.post(f"{API}/jobs/self/presign", json=body, headers=own).status_code == 403


def test_the_documents_name_what_there_is(door):
    """OpenID Connect Discovery and RFC 8414: every endpoint in them answers, and all may be cached for some minutes."""
    names = ("openid-configuration", "oauth-authorization-server")
    answers = [door.http.get(f"/.well-known/{name}") for name in names]
    for answer in answers:
        said = answer.json()
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert said["issuer"] == door.url
        assert said["grant_types_supported"] == [EXCHANGE]
        assert said["token_endpoint_auth_methods_supported"] == ["none"]
        for endpoint in ("token_endpoint", "introspection_endpoint", "revocation_endpoint"):
            assert httpx2.post(said[endpoint], data={}).json()["error"] in {"invalid_request", "invalid_client"}
        assert httpx2.get(said["jwks_uri"]).headers["cache-control"] == "public, max-age=300"
