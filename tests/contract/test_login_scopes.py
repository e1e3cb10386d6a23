"""Scopes: a login does what it was given of its user's rights, at every endpoint, and says what it lacks."""

from __future__ import annotations

import json
import re
import time

import httpx2
import pytest
from http_door import API, SCRIPT, problem_of
from logins import Person, new_person

from gateway.client import profile as profiles
from gateway.client.session import Session as ClientSession
from gateway.identity.key_ring import verify_with
from gateway.identity.scopes import ALL, WORDS, Scope
from gateway.identity.sessions import CERTIFICATE_TYPE

MACHINES = {"machines", "public"}
"""Tags of what nodes and jobs ask for with proofs of their own, and of what everybody may see."""
UNSCOPED = {
    ("POST", "/api/v1/sessions"), ("POST", "/api/v1/device"), ("POST", "/api/v1/device/token"),
    ("POST", "/api/v1/principals/login"), ("POST", "/api/v1/users"), ("POST", "/api/v1/recovery"),
    ("POST", "/api/v1/visits"), ("POST", "/api/v1/shared/{link}"),
    ("GET", "/api/v1/whoami"), ("DELETE", "/api/v1/sessions/current"),
}  # fmt: skip
"""Proven by what is in their bodies; and what every login may: learn what it is, and end itself."""
PLACES = {"name": "x4711", "subject": "everyone", "link": "0123456789abcdef"}
KEY = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
PASSWORD = {"password": "wrong"}
BODIES = {
    ("POST", "/api/v1/jobs"): {"script": SCRIPT},
    ("POST", "/api/v1/quotes"): {"script": SCRIPT},
    ("POST", "/api/v1/uploads"): {"sha256": "0" * 64, "size": 1},
    ("POST", "/api/v1/accounts/{account}/credits"): {"amount_ucr": 1, "memo": "x"},
    ("POST", "/api/v1/accounts/{account}/budget"): {"limit_ucr": 1},
    ("POST", "/api/v1/jobs/{job}/publication"): {"title": "A title", "creators": ["Doe, Jane"], "access": "open"},
    ("POST", "/api/v1/publications/{publication}/grants"): {"user": "demo"},
    ("POST", "/api/v1/slurm-tokens"): {},
    ("POST", "/api/v1/principals"): {"name": "robot", "scopes": ["jobs:read"], "public_key": KEY},
    ("POST", "/api/v1/principals/{name}/keys"): {"public_key": KEY},
    ("POST", "/api/v1/totp"): PASSWORD,
    ("POST", "/api/v1/totp/confirm"): {"code": "123456"},
    ("POST", "/api/v1/totp/remove"): PASSWORD,
    ("POST", "/api/v1/totp/recovery-codes"): PASSWORD,
    ("POST", "/api/v1/password"): {**PASSWORD, "new_password": "a new long password"},
    ("POST", "/api/v1/invitations"): {"user": "eve"},
    ("POST", "/api/v1/users/{user}/role"): {"role": "admin"},
    ("POST", "/api/v1/users/{user}/reset"): {},
    ("POST", "/api/v1/groups"): {"group": "ice"},
    ("POST", "/api/v1/groups/{group}/members"): {"user": "eve"},
    ("POST", "/api/v1/jobs/{job}/shares"): {"subject": "user:eve", "readable": True},
    ("POST", "/api/v1/jobs/{job}/links"): {},
    ("POST", "/api/v1/peers"): {"name": "home", "issuer": "https://home.example", "audience": "b", "keys": {}},
    ("POST", "/api/v1/visas"): {"peer": "home", "public_key": KEY},
    ("POST", "/api/v1/nodes/{name}/ssh"): {"public_key": "ssh-ed25519 AAAA"},
    ("POST", "/api/v1/nodes"): {"name": "small-1"},
    ("POST", "/api/v1/nodes/{name}/drain"): {"reason": "x"},
    ("POST", "/api/v1/nodes/{name}/destroy"): {},
    ("POST", "/api/v1/site/claims"): {"unix_name": "eve"},
}  # fmt: skip
SLURM = [
    ("GET", "/slurm/v0.0.42/jobs", "jobs:read"),
    ("GET", "/slurm/v0.0.42/jobs/state", "jobs:read"),
    ("GET", "/slurm/v0.0.42/job/1", "jobs:read"),
    ("GET", "/slurm/v0.0.42/nodes", "nodes:read"),
    ("GET", "/slurm/v0.0.42/partitions", "nodes:read"),
    ("GET", "/slurm/v0.0.42/ping", "nodes:read"),
    ("GET", "/slurm/v0.0.42/node/small-1", "nodes:read"),
    ("GET", "/slurm/v0.0.42/partition/burst", "nodes:read"),
    ("DELETE", "/slurm/v0.0.42/job/1", "jobs:write"),
    ("POST", "/slurm/v0.0.42/job/1", "jobs:write"),
    ("GET", "/slurmdb/v0.0.42/jobs", "jobs:read"),
    ("GET", "/slurmdb/v0.0.42/job/1", "jobs:read"),
]


@pytest.fixture(scope="module")
def person(door):
    """A user of these tests' own."""
    return new_person(door, "scoped")


@pytest.fixture(scope="module")
def narrow(door):
    """Sessions of the administrator, who may everything, each of one scope; by scope."""
    password = (door.settings.secrets_dir / "admin.password").read_text()
    admin = Person(door, "admin", password)
    return {scope: admin.log_in(scope) for scope in (Scope.NODES_WRITE, Scope.NODES_READ)}


def exchange(visitor, method, target, body=None):
    """Sign and send to any path of the gateway."""
    content = b"" if body is None else json.dumps(body).encode()
    headers = {"Authorization": visitor.sign(method, target, content), "Content-Type": "application/json"}
    return visitor.http.request(method, target, content=content, headers=headers)


def signed_endpoints(door):
    """Every endpoint of the OpenAPI document that a user signs for."""
    for path, operations in door.http.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/api/") and not MACHINES & set(operation.get("tags", ())):
                yield method.upper(), path


def test_every_signed_endpoint_wants_a_scope(door, narrow):
    """A login without it is refused with 403 and the name of what it lacks, before anything is looked up."""
    asked = 0
    for method, path in signed_endpoints(door):
        if (method, path) in UNSCOPED:
            continue
        target = re.sub(r"\{([^}]*)\}", lambda part: PLACES.get(part[1], "4711"), path)
        # It may log in to nodes and change them, so for those another login is asked.
        changes_nodes = method == "POST" and path.startswith("/api/v1/nodes")
        scope = Scope.NODES_READ if changes_nodes else Scope.NODES_WRITE
        answer = exchange(narrow[scope], method, target, BODIES.get((method, path)))

        assert answer.status_code == 403, (method, path, answer.text)
        assert any(f"the scope {scope}." in answer.json()["detail"] for scope in Scope), (method, path, answer.text)
        asked += 1
    assert asked > 25


@pytest.mark.parametrize(("method", "target", "scope"), SLURM)
def test_slurms_own_endpoints_want_a_scope(narrow, method, target, scope):
    """In slurmrestd's form: 403, and the words name the scope."""
    body = {"hold": True} if method == "POST" else None
    answer = exchange(narrow[Scope.NODES_WRITE], method, target, body)

    assert answer.status_code == 403, answer.text
    assert f"the scope {scope}." in answer.json()["errors"][0]["description"]


def test_every_login_may_learn_what_it_is_and_end_itself(person):
    """Its scopes are in whoami and in the certificate; an unknown scope is refused before a password is tried."""
    visitor = person.log_in("jobs:read", "storage:read")
    who = visitor.send("GET", "/whoami").json()
    ring = visitor.http.get("/.well-known/jwks.json").json()
    certificate = json.loads(verify_with(ring, visitor.session.certificate, CERTIFICATE_TYPE))

    assert who["scopes"] == list(visitor.session.scopes) == ["jobs:read", "storage:read"]
    assert certificate["scope"] == "jobs:read storage:read"
    assert set(person.log_in().session.scopes) == ALL
    assert visitor.send("DELETE", "/sessions/current").status_code == 204

    facts = {"user": person.name, "password": "wrong", "public_key": {}, "scopes": ["jobs:admin"]}
    problem = problem_of(person.door.http.post(f"{API}/sessions", json=facts), 422, "invalid_request")
    assert "jobs:admin" in problem.detail


def test_f05_a_session_does_what_its_scopes_say(person):
    """F05: a login for storage:read downloads what another login's job left, and may not submit."""
    whole, reads = person.log_in(), person.log_in("storage:read")
    job = whole.submit("#!/bin/sh\n#SBATCH --time=1\necho forty-two\n").json()["id"]
    deadline = time.monotonic() + 150
    while not whole.send("GET", f"/jobs/{job}").json()["finished"]:
        assert time.monotonic() < deadline
        time.sleep(0.5)

    refused = problem_of(reads.submit(), 403, "refused")
    assert "jobs:write" in refused.detail
    assert refused.hint == "burst login --scope jobs:write gives one that may"
    problem_of(reads.send("POST", f"/jobs/{job}/cancel"), 403, "refused")
    problem_of(reads.send("GET", f"/jobs/{job}"), 403, "refused")
    files = reads.send("GET", f"/jobs/{job}/outputs")
    assert files.status_code == 200, files.text
    printed = [httpx2.get(file["url"]) for file in files.json()["files"] if file["path"].endswith(".out")]
    assert [(one.status_code, one.text) for one in printed] == [(200, "forty-two\n")]


def test_a_slurm_token_has_no_more_than_its_session(door, person):
    """What looks with a token has the scopes of the login that asked for it, and of those what is for looking."""
    narrow = person.log_in("jobs:read", "jobs:write")
    token = narrow.send("POST", "/slurm-tokens", {}).json()["token"]
    headers = {"X-SLURM-USER-NAME": person.name, "X-SLURM-USER-TOKEN": token}

    assert door.http.get("/slurm/v0.0.42/jobs", headers=headers).status_code == 200
    refused = door.http.get("/slurm/v0.0.42/nodes", headers=headers)
    assert refused.status_code == 403
    assert "nodes:read" in refused.text

    narrow.send("DELETE", "/sessions/current")
    assert door.http.get("/slurm/v0.0.42/jobs", headers=headers).status_code == 511


def test_the_client_logs_in_with_scopes(door, person, tmp_path, monkeypatch):
    """The library asks for scopes, and says which computer it is on."""
    monkeypatch.setenv("BURST_CONFIG", str(tmp_path))
    with ClientSession.login(door.url, person.name, person.password, scopes=("people:read",)) as session:
        session.save()
        (mine,) = [one for one in session.request("GET", "/sessions").json() if one["current"]]

    assert mine["scopes"] == ["people:read"]
    assert mine["host"]
    assert profiles.load(profiles.profile_path()).user == person.name


def test_every_scope_has_words():
    """Who approves a login reads what each means."""
    assert set(WORDS) == ALL
