"""slurmrestd's records, and a server that misbehaves."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from gateway.engines.engine import Submission
from gateway.engines.rest_records import number, state_key, time_of
from gateway.engines.slurmrest import SlurmRestEngine
from gateway.errors import SchedulerError, SchedulerUnavailable

SUBMISSION = Submission("token", "#!/bin/sh\n", {}, {}, "/tmp")  # noqa: S108 - never used


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (5, 5),
        (0, 0),
        (None, None),
        ({"set": True, "infinite": False, "number": 7}, 7),
        ({"set": False, "infinite": False, "number": 0}, None),
        ({"set": True, "infinite": True, "number": 0}, None),
    ],
)
def test_number(value, known):
    """Unset and infinite are no number."""
    assert number(value) == known


def test_time():
    """0 is no time."""
    assert time_of({"set": True, "infinite": False, "number": 86400}) == datetime(1970, 1, 2, tzinfo=UTC)
    assert time_of({"set": True, "infinite": False, "number": 0}) is None


@pytest.mark.parametrize(("text", "key"), [("12", 12), ("12_3", 12), ("12+0", 12), (12, 12)])
def test_state_key(text, key):
    """The id is what the text begins with; int() would read 12_3 as 123."""
    assert state_key({"job_id": text}) == key


class Server(http.server.ThreadingHTTPServer):
    """Answers ping as slurmrestd does; what it does with the rest is a test's choice."""

    def __init__(self, answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"{self.command} {self.path}")
        if self.path.endswith("/v0.0.42/ping"):
            reply(self, 404, b"")
        elif self.path.endswith("/ping"):
            reply(self, 200, b'{"pings": [{"pinged": "UP"}]}')
        else:
            self.server.answer(self)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        return


def reply(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def hang_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Server, SlurmRestEngine]]]:
    servers: list[tuple[Server, SlurmRestEngine]] = []

    def start(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> tuple[Server, SlurmRestEngine]:
        server = Server(answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        engine = SlurmRestEngine(f"http://127.0.0.1:{server.server_port}", "me", lambda: "token")
        servers.append((server, engine))
        return server, engine

    yield start
    for server, engine in servers:
        engine.close()
        server.shutdown()
        server.server_close()


def test_the_version_is_what_both_know(serve):
    """A server without v0.0.42 is asked for the next; the choice is made once."""
    server, engine = serve(lambda handler: reply(handler, 200, b'{"jobs": []}'))
    assert engine.states() == {}
    assert engine.states() == {}
    assert server.asked == [
        "GET /slurm/v0.0.42/ping",
        "GET /slurm/v0.0.43/ping",
        "GET /slurm/v0.0.43/jobs/state/",
        "GET /slurm/v0.0.43/jobs/state/",
    ]


def test_a_lost_reply_is_not_sent_again(serve):
    """Given a server that takes a job and hangs up, the job is sent once, and the caller is told to look it up."""
    server, engine = serve(hang_up)
    with pytest.raises(SchedulerUnavailable) as lost:
        engine.submit(SUBMISSION)
    assert "by its token" in lost.value.hint
    assert [line for line in server.asked if "submit" in line] == ["POST /slurm/v0.0.43/job/submit"]


def test_a_question_may_be_asked_again(serve):
    """Reading changes nothing: a closed connection is tried once more before it is said to be away."""
    server, engine = serve(hang_up)
    with pytest.raises(SchedulerUnavailable):
        engine.nodes()
    assert [line for line in server.asked if "nodes" in line] == ["GET /slurm/v0.0.43/nodes/"] * 2


def test_a_vague_error_is_slurms_own_while_the_controller_answers(serve):
    """Slurm says "Unspecified error" both for what it refuses and for a controller that is away: ping decides."""
    errors = {"errors": [{"error_number": -1, "error": "Unspecified error"}]}
    _, engine = serve(lambda handler: reply(handler, 500, json.dumps(errors).encode()))
    with pytest.raises(SchedulerError, match="Unspecified error") as refusal:
        engine.states()
    assert not refusal.value.retryable


@pytest.mark.parametrize(("status", "words"), [(401, "does not accept our token"), (500, "answered 500")])
def test_an_answer_that_is_not_slurms(serve, status, words):
    """Text instead of JSON is an error that says so."""
    _, engine = serve(lambda handler: reply(handler, status, b"Authentication failure"))
    with pytest.raises(SchedulerError, match=words):
        engine.states()
