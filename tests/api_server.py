"""ApiServer: a cloud's JSON API over real HTTP, made for the tests; what all of them have in common.

Its machines take time to start and to end, its lists have pages, and a test can have calls refused, delayed in their
effect, or carried out without an answer. A cloud's own server adds its paths, its way to log in and its form of errors.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

STARTING_S = 0.1
ENDING_S = 0.1


@dataclass(frozen=True)
class Call:
    """One request. ``body``: what its JSON or its form says."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def what(self) -> str:
        return f"{self.method} {self.path}"


class Refused(Exception):
    """The answer to a call that is not carried out."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body, self.headers = status, body, headers or {}


@dataclass(frozen=True)
class Fault:
    """What the next call that ``meets`` gets in place of its work; None: the work is done, and nobody hears of it."""

    meets: Callable[[Call], bool]
    answer: Refused | None


@dataclass
class Life:
    """Since when a machine starts, and ends; ``halted``: it was powered off, or taken back, without being ended."""

    begun: float = field(default_factory=time.monotonic)
    ended: float | None = None
    halted: str = ""

    @property
    def state(self) -> str:
        """starting, running, halted, ending or gone."""
        now = time.monotonic()
        if self.ended is not None:
            return "ending" if now < self.ended + ENDING_S else "gone"
        if self.halted:
            return "halted"
        return "starting" if now < self.begun + STARTING_S else "running"

    def end(self) -> None:
        self.ended = self.ended or time.monotonic()


class ApiServer:
    """Serves on a free port of this computer, as long as the context lasts."""

    refusals: Mapping[str, Refused]
    """What this cloud says when it refuses: throttled, quota, transient, auth, invalid."""
    creates: str
    """Method and path of an order, as a regular expression."""
    most = 500
    """Things that a page has at most, whatever is asked for."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.full: set[str] = set()
        """Sizes without room, or "ZONE/SIZE"."""
        self.lock = threading.RLock()

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.api = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self._http.server_address[:2])

    def admit(self, call: Call) -> None:
        """Raises Refused unless the caller may."""
        raise NotImplementedError

    def perform(self, call: Call) -> tuple[int, Any]:
        """Carry the call out: status and body. Raises Refused."""
        raise NotImplementedError

    def meet(self, what: str, number: int, how: str | None) -> None:
        """Call ``number``, from 0, whose method and path are like ``what`` is refused; None: its reply is lost."""
        left = itertools.count()

        def meets(call: Call) -> bool:
            return bool(re.fullmatch(what, call.what)) and next(left) == number

        self.faults.append(Fault(meets, None if how is None else self.refusals[how]))

    def refuse(self, what: str, how: str) -> None:
        """The next call like ``what`` is refused."""
        self.meet(f"{what}.*", 0, how)

    def lose_reply(self) -> None:
        """The next order is carried out, and nobody hears of it."""
        self.meet(self.creates, 0, None)

    def met(self, call: Call) -> Fault | None:
        """The fault that a test has put in this call's way."""
        with self.lock:
            found = next((fault for fault in self.faults if fault.meets(call)), None)
            if found is not None:
                self.faults.remove(found)
            return found

    def count(self, what: str) -> int:
        """How many calls there were whose method and path hold this text."""
        return sum(what in call.what for call in self.calls)

    def page(self, things: Iterable[Any], asked: int, after: str) -> tuple[list[Any], str]:
        """One page and the token of the next, "" after the last."""
        whole, start = list(things), int(after or 0)
        stop = start + min(asked, self.most)
        return whole[start:stop], str(stop) if stop < len(whole) else ""


class _Handler(BaseHTTPRequestHandler):
    """Reads calls, and writes what the server says to them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        api: ApiServer = self.server.api  # type: ignore[attr-defined]
        call = self._call()
        api.calls.append(call)
        try:
            api.admit(call)
            fault = api.met(call)
            if fault is not None and fault.answer is not None:
                raise fault.answer
            with api.lock:
                status, body = api.perform(call)
        except Refused as refused:
            self._answer(refused.status, refused.body, refused.headers)
            return
        if fault is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(status, body, {})

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""

    def _call(self) -> Call:
        url = urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = "urlencoded" in self.headers.get("Content-Type", "")
        body = dict(parse_qsl(text)) if form else json.loads(text or "null")
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Call(self.command, url.path, dict(parse_qsl(url.query)), headers, body)

    def _answer(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        text = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)
