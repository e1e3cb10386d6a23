"""What answers without a proof of who asks: a listed few; and what no answer and no log ever tells."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.api.app import create_app
from gateway.bootstrap.sealing_key import sealer_of
from gateway.identity.keys import make_key, public_jwk
from gateway.web.app import add_web

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
OPEN = {
    "GET /",
    "GET /.well-known/burst-gateway",
    "GET /.well-known/burst-keys",
    "GET /.well-known/jwks.json",
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/openid-configuration",
    "GET /docs",
    "GET /docs/oauth2-redirect",
    "GET /doi/{prefix}/{suffix}",
    "GET /doi/{prefix}/{suffix}/files/{path:path}",
    "GET /doi/{prefix}/{suffix}/manifest.json",
    "GET /healthz",
    "GET /metrics",
    "GET /node-agent.py",
    "GET /openapi.json",
    "GET /readyz",
    "GET /redoc",
    "GET /seed/{address}/{name}",
    "GET /shared/{link}",
    "DELETE /slurm/{rest:path}",
    "DELETE /slurmdb/{rest:path}",
    "GET /slurm/{rest:path}",
    "GET /slurmdb/{rest:path}",
    "POST /slurm/{rest:path}",
    "POST /slurmdb/{rest:path}",
    "PUT /slurm/{rest:path}",
    "PUT /slurmdb/{rest:path}",
    "GET /web/",
    "GET /web/institutions/{name}/return",
    "GET /web/sign-in",
    "GET /web/static",
    "POST /api/v1/device",
    "POST /api/v1/device/token",
    "POST /api/v1/nodes/join",
    "POST /api/v1/principals/login",
    "POST /api/v1/recovery",
    "POST /api/v1/sessions",
    "POST /api/v1/shared/{link}",
    "POST /api/v1/users",
    "POST /api/v1/visits",
    "POST /oauth/introspect",
    "POST /oauth/revoke",
    "POST /oauth/token",
    "POST /sts",
    "POST /sts/",
}
"""All that answers otherwise than 401, 403 or by the way to the sign-in page. docs/security.md says why, each."""

PLAIN = b"the secret of a node, as it is at rest"


@pytest.fixture(scope="module")
def routes() -> list[tuple[str, str]]:
    """Every route of the app that is served, pages included."""
    gateway: Any = SimpleNamespace(people=SimpleNamespace(issuer="http://gateway", site_url="http://gateway"))
    app = create_app(gateway)
    add_web(app, gateway)
    return list(walk(app))


def walk(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of each route, those of routers and mounted apps too."""
    for route in app.routes:
        if hasattr(route, "original_router"):
            yield from walk(route.original_router, prefix)
        elif hasattr(route, "endpoint"):
            yield from ((method, prefix + route.path) for method in sorted(route.methods - {"HEAD"}))
        elif hasattr(route.app, "routes"):
            yield from walk(route.app, prefix + route.path)
        else:
            yield "GET", prefix + route.path


def refused(answer: httpx2.Response) -> bool:
    """By its status, or by being shown the way to the sign-in page."""
    to_sign_in = answer.status_code == 303 and answer.headers["location"].startswith("/web/sign-in")
    return answer.status_code in {401, 403} or to_sign_in


def test_a_listed_few_answer_to_nobody_in_particular(door, routes):
    """Every route is knocked at without a proof; what answers is on the list, and the list is in the documents."""
    answered = set()
    with httpx2.Client(base_url=door.url, timeout=60, follow_redirects=False) as http:
        for method, path in routes:
            target = re.sub(r"\{[^}]*\}", "x1", path)
            answer = http.request(method, target, json=None if method == "GET" else {})
            assert answer.status_code < 500 or path == "/readyz", (method, path, answer.text)
            if not refused(answer):
                answered.add(f"{method} {path}")

    assert not answered ^ OPEN, sorted(answered ^ OPEN)
    text = DOCUMENT.read_text()
    assert [one for one in sorted(OPEN) if f"`{one}`" not in text] == []


def test_w01_what_is_encrypted_is_opened_for_nobody(door, demo):
    """Naive: the root endpoint decrypts what it is given, as a challenge. Ours: sealed texts come back as they are, or
    not at all, from every endpoint, whoever asks."""
    sealer = sealer_of(door.settings)
    sealed = sealer.seal(PLAIN, "node:small-1")
    assert sealer.open(sealed, "node:small-1") == PLAIN  # what the naive endpoint would answer with

    for said in everything_answered(door, demo, sealed):
        assert PLAIN.decode() not in said


def test_f14_captured_tokens_and_problems_give_nothing_away(door, demo):
    """Requests, answers and certificates of before, thrown at every endpoint: refused, unread, without a trace."""
    refusal = door.http.get("/api/v1/whoami").text
    token = demo.sign("POST", "/api/v1/jobs", b"{}").partition(" ")[2]
    trap = json.dumps({"code": "os.system", "detail": "touch /tmp/pwned", "type": "builtins.exec"})
    for captured in (token, demo.session.certificate, refusal, trap):
        for said in everything_answered(door, demo, captured):
            assert "Traceback" not in said
            assert 'File "' not in said


def everything_answered(door, visitor, captured: str) -> Iterator[str]:
    """What each operation of the OpenAPI document says when it is given ``captured``, without and with a signature."""
    document = door.http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method == "delete" and path in {"/api/v1/sessions/current", "/api/v1/sessions"}:
                continue  # the visitor's own login
            target = re.sub(r"\{[^}]*\}", "x1", path)
            body = dict.fromkeys(fields_of(document, operation), captured) or {"data": captured}
            content = b"" if method == "get" else json.dumps(body).encode()
            own = {"Content-Type": "application/json"}
            bearer = {"Authorization": f"Bearer {captured if captured.isascii() and chr(10) not in captured else 'x'}"}
            signed = {"Authorization": visitor.sign(method.upper(), target, content)}
            for headers in (bearer, signed):
                answer = door.http.request(method.upper(), target, content=content, headers=own | headers)
                assert answer.status_code < 500 or path == "/readyz", (method, path, answer.text)
                yield answer.text.replace(captured, "")


def fields_of(document: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """The names of an operation's fields."""
    try:
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    except KeyError:
        return []
    return list(document["components"]["schemas"][reference.rpartition("/")[2]].get("properties", {}))


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(header=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200), place=st.integers(0, 400))
def test_f14_broken_tokens_are_refused_like_any_other(door, demo, header, place):
    """Whatever stands where a token should, and tokens cut off anywhere."""
    token = demo.sign("GET", "/api/v1/whoami")
    for authorization in (header, f"Burst {header}".strip(), token[: place % len(token)].strip()):
        answer = door.http.get("/api/v1/whoami", headers={"Authorization": authorization})
        assert answer.status_code == 401, answer.text


def test_w18_no_secret_is_in_an_error_or_in_the_log(door):
    """Naive: the weak pass phrase is printed with the reason. Ours: no answer and no log repeats what is secret."""
    secret = f"Secret-{secrets.token_hex(12)}"
    assert secret in f"pass phrase {secret!r} is too weak"  # the naive message
    key = make_key()
    visitor = door.log_in("demo", key=key)
    private = key.as_dict(private=True)["d"]
    token = visitor.sign("POST", "/api/v1/quotes", b"{}")
    said = [
        door.http.post("/api/v1/sessions", json={"user": "demo", "password": secret, "public_key": public_jwk(key)}),
        door.http.post("/api/v1/sessions", json={"user": "demo", "password": secret, "public_key": {"d": private}}),
        door.http.post("/api/v1/sessions", json={"user": "demo", "password": {"it": secret}, "public_key": {}}),
        door.http.post("/api/v1/nodes/join", json={"node": "small-1", "token": secret}),
        door.http.post("/api/v1/device/token", json={"device_code": secret}),
        door.http.post("/api/v1/quotes", content=b"{}", headers={"Authorization": token}),
        door.http.post(
            "/sts", data={"Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": secret, "RoleArn": "x"}
        ),
        door.http.get("/api/v1/whoami", headers={"Authorization": f"Bearer {secret}"}),
        door.http.get("/slurm/v0.0.42/jobs", headers={"X-SLURM-USER-TOKEN": secret}),
    ]
    log = door.log()

    # 511 is slurmrestd's own answer to a token that is none.
    assert all(400 <= answer.status_code < 500 or answer.status_code == 511 for answer in said), said
    for text in (log, *(answer.text for answer in said)):
        for hidden in (secret, private, token.rpartition(".")[2]):
            assert hidden not in text


def test_w18_a_failure_of_ours_says_nothing_of_its_cause():
    """Naive: the traceback goes over the wire. Ours: that the gateway failed, and where its operator finds why."""
    hidden = "postgresql://burst:hunter2@db/burst"

    def fail(*_words: object) -> None:
        raise RuntimeError(hidden)

    gateway: Any = SimpleNamespace(people=SimpleNamespace(log_in=fail, issuer="http://gateway"))
    with TestClient(create_app(gateway), raise_server_exceptions=False) as http:
        body = {"user": "ada", "password": "x", "public_key": public_jwk(make_key())}
        answer = http.post("/api/v1/sessions", json=body)

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    for leaked in (hidden, "hunter2", "RuntimeError", "Traceback"):
        assert leaked not in answer.text


def test_answers_to_signed_requests_carry_a_signature(door, demo):
    """Good ones and refusals; what nobody signed is answered without one."""
    good, bad = demo.send("GET", "/whoami"), demo.send("GET", "/whoami", now=datetime(2020, 1, 1, tzinfo=UTC))

    assert (good.status_code, bad.status_code) == (200, 401)
    assert all(answer.headers["burst-signature"].count(".") == 2 for answer in (good, bad))
    assert "burst-signature" not in door.http.get("/healthz").headers
