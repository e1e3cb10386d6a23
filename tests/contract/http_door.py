"""Door: a whole gateway with process nodes, and visitors who knock at it over real sockets."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.accounting.ledger import AccountKind
from gateway.identity.keys import Key, make_key, public_jwk
from gateway.identity.passwords import hash_password
from gateway.identity.signature import sign_request
from gateway.identity.users import Role, User
from gateway.settings import CREDIT, Settings
from gateway.storage.database import Database
from gateway.storage.work import SqlWork
from gateway.wire import Problem, Session

API = "/api/v1"
SCRIPT = "#!/bin/sh\n#SBATCH --time=1\ntrue\n"


@dataclass(frozen=True)
class Visitor:
    """Somebody with a session key, who signs as told."""

    http: httpx2.Client
    session: Session
    key: Key

    def sign(self, method: str, path: str, body: bytes = b"", **other: Any) -> str:
        """An Authorization header; ``other`` replaces what a good one would have."""
        facts = {"kid": self.session.id, "audience": self.session.audience, "now": datetime.now(UTC), **other}
        token = sign_request(facts.pop("key", self.key), method=method, path=path, body=body, **facts)
        return f"Burst {token}"

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **other: Any
    ) -> httpx2.Response:
        """A well-signed request, but for ``other``."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        signed = {"Authorization": self.sign(method, API + path, content, **other), "Content-Type": "application/json"}
        return self.http.request(method, API + path, content=content, headers=signed | dict(headers or {}))

    def submit(self, script: str = SCRIPT, **how: Any) -> httpx2.Response:
        """Submit a job."""
        headers = how.pop("headers", None)
        return self.send("POST", "/jobs", {"script": script, **how}, headers)


@dataclass(frozen=True)
class Door:
    """A running gateway."""

    settings: Settings
    url: str
    http: httpx2.Client

    def log_in(self, user: str, password: str | None = None, key: Key | None = None) -> Visitor:
        """A visitor with a new session."""
        password = password or (self.settings.secrets_dir / f"{user}.password").read_text()
        key = key or make_key()
        facts = {"user": user, "password": password, "public_key": public_jwk(key)}
        answer = self.http.post(f"{API}/sessions", json=facts)
        assert answer.status_code == 201, answer.text
        return Visitor(self.http, Session.model_validate_json(answer.content), key)

    def add_user(self, name: str, credits_ucr: int) -> Visitor:
        """A visitor who is a new user with so much money."""
        password, now = secrets.token_hex(8), datetime.now(UTC)
        database = Database(self.settings.database_url)
        with database.begin() as connection:
            work = SqlWork(connection)
            work.ledger.open_account(name, AccountKind.USER)
            work.users.add(User(name, Role.USER, account=name), hash_password(password), now)
            if credits_ucr:
                work.ledger.deposit(name, credits_ucr, "to start with", now)
        database.close()
        return self.log_in(name, password)

    def log(self) -> str:
        """What the gateway has written so far."""
        return (self.settings.log_dir / "gateway.log").read_text()


def problem_of(answer: httpx2.Response, status: int, code: str) -> Problem:
    """The answer's problem document, which must be of this kind and help its reader."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(answer.content)
    assert (problem.status, problem.code) == (status, code), answer.text
    assert problem.detail
    assert problem.hint
    assert "Traceback" not in answer.text
    return problem


@pytest.fixture(scope="session")
def door() -> Iterator[Door]:
    """One gateway for all tests that knock at its door; its nodes are processes."""
    with opened() as found:
        yield found


@contextmanager
def opened(node_types: str = "") -> Iterator[Door]:
    """A gateway, with such types of nodes."""
    cache = os.environ.get("BURST_CACHE") or str(Path(tempfile.gettempdir(), "burst-cache"))
    with tempfile.TemporaryDirectory(prefix="burst-door-") as directory:
        settings = ("--set=nodes=process", "--set=idle_s=2", "--set=demo_credits=1000")
        if node_types:
            Path(directory, "node-types.toml").write_text(node_types)
        answer = _bootstrap("up", directory, *settings, env={**os.environ, "BURST_CACHE": cache})
        try:
            with httpx2.Client(base_url=answer["url"], timeout=60) as http:
                yield Door(Settings.load(Path(directory)), answer["url"], http)
        finally:
            _bootstrap("down", directory, env=dict(os.environ))


@pytest.fixture(scope="session")
def demo(door: Door) -> Visitor:
    """The demo user."""
    return door.log_in("demo")


@pytest.fixture(scope="session")
def admin(door: Door) -> Visitor:
    """The administrator."""
    return door.log_in("admin")


@pytest.fixture(scope="session")
def stranger(door: Door) -> Visitor:
    """Another user, with ten credits."""
    return door.add_user("stranger", 10 * CREDIT)


def _bootstrap(verb: str, directory: str, *more: str, env: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "gateway.bootstrap", verb, "--dir", directory, *more]
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
