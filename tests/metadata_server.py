"""MetadataServer: a cloud's metadata service over HTTP, in the form that EC2, Compute Engine and Azure document.

Invariant: it refuses what the real ones refuse: EC2 without a token of its own, the others without their header.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LONGEST_WAIT_S = 20.0


@dataclass
class MetadataServer:
    """``taken``: EC2's tokens whose machines are taken back; a token is one agent's."""

    port: int = 0
    tokens: list[str] = field(default_factory=list)
    action: dict[str, str] | None = None
    rebalance: dict[str, str] | None = None
    taken: set[str] = field(default_factory=set)
    preempted: bool = False
    events: list[dict[str, object]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changed = threading.Condition()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def preempt(self) -> None:
        """Compute Engine's way: whoever waits hears of it."""
        with self.changed:
            self.preempted = True
            self.changed.notify_all()

    def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, str, str]:
        """Status, text and ETag."""
        url = urlsplit(target)
        self.asked.append(url.path)
        if url.path.startswith("/latest/"):
            return (*self._ec2(method, url.path, headers), "")
        if url.path.startswith("/computeMetadata/"):
            return self._gce(url.path, parse_qs(url.query), headers)
        return (*self._azure(url.path, parse_qs(url.query), headers), "")

    def _ec2(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if path == "/latest/api/token":
            if method != "PUT" or "x-aws-ec2-metadata-token-ttl-seconds" not in headers:
                return 400, ""
            self.tokens.append(f"token-{len(self.tokens)}")
            return 200, self.tokens[-1]
        token = headers.get("x-aws-ec2-metadata-token")
        if token not in self.tokens:
            return 401, ""
        if path == "/latest/meta-data/spot/instance-action" and self.action and token in self.taken:
            return 200, json.dumps(self.action)
        if path == "/latest/meta-data/events/recommendations/rebalance" and self.rebalance:
            return 200, json.dumps(self.rebalance)
        return 404, "<html>404 - Not Found</html>"

    def _gce(self, path: str, query: dict[str, list[str]], headers: dict[str, str]) -> tuple[int, str, str]:
        if headers.get("metadata-flavor") != "Google":
            return 403, "", ""
        if path != "/computeMetadata/v1/instance/preempted":
            return 404, "", ""
        ends = time.monotonic() + min(float(query.get("timeout_sec", ["20"])[0]), LONGEST_WAIT_S)
        with self.changed:
            known = query.get("last_etag", [self._tag()])[0]
            while query.get("wait_for_change") == ["true"] and known == self._tag() and time.monotonic() < ends:
                self.changed.wait(ends - time.monotonic())
            return 200, "TRUE" if self.preempted else "FALSE", self._tag()

    def _tag(self) -> str:
        return "b" if self.preempted else "a"

    def _azure(self, path: str, query: dict[str, list[str]], headers: dict[str, str]) -> tuple[int, str]:
        if headers.get("metadata") != "true" or "api-version" not in query:
            return 400, '{"error":"Bad request. Required metadata header not specified"}'
        if path == "/metadata/instance/compute/name":
            return 200, "node-vm-3"
        return 200, json.dumps({"DocumentIncarnation": len(self.events), "Events": self.events})


@contextmanager
def metadata_server() -> Iterator[MetadataServer]:
    """One that answers, until the end of the block."""
    service = MetadataServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(service))
    server.daemon_threads = True
    service.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield service
    finally:
        service.preempt()
        server.shutdown()
        server.server_close()


def _handler(service: MetadataServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text, tag = service.answer(self.command, self.path, headers)
            self.send_response(status)
            if tag:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = _do  # noqa: N815 - the name is the standard library's
        do_PUT = _do  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    return Handler
