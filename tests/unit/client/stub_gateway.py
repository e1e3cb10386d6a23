"""A small HTTP server that speaks the gateway's protocol: it verifies real signatures and keeps objects in memory."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from gateway.accounting.receipt_form import canonical
from gateway.errors import BadSignature
from gateway.identity.key_ring import KeyRing
from gateway.identity.keys import read_public
from gateway.identity.replies import REPLY_HEADER, sign_reply
from gateway.identity.sessions import Session, certificate
from gateway.identity.signature import token_of, verify_request
from gateway.identity.succession import KEYS_PATH
from gateway.identity.users import Role, User
from gateway.wire.proofs import KEYS_SEAL_TYPE

AUDIENCE = "stub"
PASSWORD = "correct horse"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Seen:
    """One request that arrived, its signature verified."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    nonce: str = ""
    max_spend_ucr: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Any]


@dataclass
class Stub:
    """What the stub was asked, and what it answers: "METHOD /path" → answers, used in order, the last one kept."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    public_key: dict[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="burst-stub-")))
    signs: bool = True
    """Whether answers to signed requests are signed, as a gateway's are."""
    drop_next: int = 0
    """How many connections to cut after the request was read, without an answer."""

    @cached_property
    def ring(self) -> KeyRing:
        """Its signing keys."""
        return KeyRing.open(self.folder / "keys.json", datetime.now(UTC))

    def on(self, what: str, *answers: Answer) -> None:
        self.answers[what] = list(answers)

    def requests(self, what: str) -> list[Seen]:
        return [one for one in self.seen if f"{one.method} {one.path}" == what]

    def answer(self, request: Seen) -> Answer:
        if request.path.startswith("/objects/"):
            return self._object(request)
        if request.path == "/api/v1/sessions":
            return self._login(request)
        if request.path == KEYS_PATH:
            return 200, self.published()
        claims = verify_request(
            token_of(request.headers.get("authorization")),
            read_public(self.public_key),
            method=request.method,
            path=request.path,
            body=request.body,
            audience=AUDIENCE,
            now=datetime.now(UTC),
        )
        request.nonce, request.max_spend_ucr = claims.nonce, claims.max_spend_ucr
        if request.path == "/api/v1/uploads":
            return self._upload(request)
        waiting = self.answers.get(f"{request.method} {request.path}")
        if not waiting:
            return 404, problem("not_found", 404, f"no {request.path}")
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def published(self) -> dict[str, Any]:
        """The key document, as a gateway publishes it."""
        keys = [{name: key[name] for name in ("kty", "crv", "x", "kid")} for key in self.ring.jwks()["keys"]]
        document = {"audience": AUDIENCE, "keys": keys, "successions": self.ring.successions}
        digest = hashlib.sha256(canonical(document)).hexdigest().encode()
        return {**document, "seal": self.ring.sign(digest, KEYS_SEAL_TYPE, datetime.now(UTC))}

    def sign(self, request: Seen, status: int, body: bytes) -> dict[str, str]:
        """The header of a signed answer."""
        try:
            token = token_of(request.headers.get("authorization"))
        except BadSignature:
            return {}
        return {REPLY_HEADER: sign_reply(self.ring, token, status, body, datetime.now(UTC))} if self.signs else {}

    def _login(self, request: Seen) -> Answer:
        if request.json["password"] != PASSWORD:
            return 403, problem("not_allowed", 403, "Wrong user or password.", hint="check both")
        self.public_key = request.json["public_key"]
        now = datetime.now(UTC)
        end = now + timedelta(hours=1)
        user = User(request.json["user"], Role.USER, request.json["user"])
        session = Session("s1", user.name, self.public_key, now, end)
        return 201, {
            "id": "s1",
            "user": request.json["user"],
            "audience": AUDIENCE,
            "expires_at": end.isoformat(),
            "certificate": certificate(session, user, self.ring, self.url, AUDIENCE),
        }

    def _upload(self, request: Seen) -> Answer:
        digest = request.json["sha256"]
        known = digest in self.objects
        return 200, {"key": f"inputs/{digest}", "url": None if known else f"{self.url}/objects/{digest}"}

    def _object(self, request: Seen) -> Answer:
        name = request.path.removeprefix("/objects/")
        if request.method == "PUT":
            assert hashlib.sha256(request.body).hexdigest() == name
            self.objects[name] = request.body
            return 200, ""
        return 200, self.objects[name]


def problem(code: str, status: int, detail: str, **others: Any) -> dict[str, Any]:
    """A problem document."""
    return {"title": code, "status": status, "detail": detail, "code": code, **others}


def job_view(**others: Any) -> dict[str, Any]:
    """A job as the gateway shows it."""
    view: dict[str, Any] = {
        "id": 7,
        "burst_id": "0" * 32,
        "name": "job.sh",
        "user": "demo",
        "account": "demo",
        "offer": "small",
        "stage": "queued",
        "state": "PENDING",
        "reason": "a node is being made",
        "exit_code": None,
        "hold_ucr": 1_200_000,
        "submitted_at": NOW.isoformat(),
        "ended_at": None,
        "finished": False,
        "timeline": [{"at": NOW.isoformat(), "kind": "submitted", "text": "the script was read"}],
    }
    return view | others


def quote_view(**others: Any) -> dict[str, Any]:
    """A quote as the gateway gives it."""
    line = {"text": "1 small node", "quantity": 1.0, "unit": "node hour", "amount_ucr": 1_200_000}
    view = {"offer": "small", "lines": [line], "total_ucr": 1_200_000, "balance_ucr": 9_000_000, "account": "demo"}
    return view | others


@contextmanager
def serve() -> Iterator[Stub]:
    """A stub gateway on a free port of this machine."""
    stub = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        shutil.rmtree(stub.folder)


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Seen(self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()})
            stub.seen.append(request)
            if stub.drop_next > 0:
                stub.drop_next -= 1
                self.close_connection = True
                return
            status, answer = stub.answer(request)
            content = (
                answer if isinstance(answer, bytes) else answer.encode() if isinstance(answer, str) else _json(answer)
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for name, value in stub.sign(request, status, content).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_any  # noqa: N815 - http.server's names

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    return Handler


def _json(answer: Any) -> bytes:
    return json.dumps(answer).encode()
