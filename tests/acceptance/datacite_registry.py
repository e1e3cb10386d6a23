"""DataCiteRegistry: a stand-in for DataCite's REST API, over real HTTP, with the rules that DataCite itself has.

What it keeps to: JSON:API media type; HTTP Basic of a repository; a repository's own prefixes only; the form of DOIs
and URLs; metadata validated (schema 4.5) for registered and findable DOIs; draft → registered → findable, findable ↔
registered by "hide" and "publish", an event that does not fit passed over without an error; only drafts deleted; what
is not findable shown to its repository only. What it leaves out: XML, handles, search.

Sources: https://support.datacite.org/docs/doi-states and lupo's app/models/doi.rb, which say so.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from datacite import schema45

MEDIA_TYPE = "application/vnd.api+json"
DOI = re.compile(r"10\.\d{4,5}/[-._;()/:a-zA-Z0-9*~$=]+")
URL = re.compile(r"(https?|ftp)://[^\s/]+(/\S*)?")
MOVES = {
    ("draft", "register"): "registered",
    ("draft", "publish"): "findable",
    ("registered", "publish"): "findable",
    ("findable", "hide"): "registered",
}


@dataclass
class DataCiteRegistry:
    """Its DOIs, its repositories (id → password, prefixes), and what is to go wrong."""

    url: str
    repositories: dict[str, tuple[str, tuple[str, ...]]]
    dois: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost_replies: int = 0
    """So many of the next writes are done and never answered,"""
    heard_first: int = 0
    """after so many that are."""
    created: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def state(self, doi: str) -> str | None:
        """Of a DOI; None when there is none."""
        return self.dois[doi]["state"] if doi in self.dois else None


class Fault(Exception):
    """What is answered instead."""

    def __init__(self, status: int, title: str, source: str | None = None) -> None:
        self.status = status
        self.errors = [{"status": str(status), "title": title} | ({"source": source} if source else {})]


@contextmanager
def datacite_registry(**repositories: tuple[str, tuple[str, ...]]) -> Iterator[DataCiteRegistry]:
    """One on a free port; ``repositories`` are names with dots written as "__"."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    known = {name.replace("__", "."): facts for name, facts in repositories.items()}
    server.registry = DataCiteRegistry(f"http://127.0.0.1:{server.server_port}", known)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.registry  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self._read)

    def do_POST(self) -> None:
        self._answer(self._write)

    def do_PUT(self) -> None:
        self._answer(self._write)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def log_message(self, *words: object) -> None:
        """Quiet."""

    @property
    def registry(self) -> DataCiteRegistry:
        return self.server.registry  # type: ignore[attr-defined,no-any-return]

    def _answer(self, act: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.registry.lock:
            self.registry.asked.append((self.command, self.path))
            try:
                status, document = act(body)
            except Fault as fault:
                status, document = fault.status, {"errors": fault.errors}
            if self.command in {"PUT", "POST"} and status < 300 and self._is_lost():
                self.close_connection = True
                return  # it was done; nobody hears of it
        content = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", MEDIA_TYPE)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _is_lost(self) -> bool:
        if self.registry.heard_first:
            self.registry.heard_first -= 1
            return False
        lost = self.registry.lost_replies > 0
        self.registry.lost_replies -= lost
        return lost

    def _doi(self) -> str:
        return self.path.removeprefix("/dois").removeprefix("/").lower()

    def _repository(self, *, needed: bool = True) -> str | None:
        kind, _, token = (self.headers.get("Authorization") or "").partition(" ")
        try:
            name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except ValueError:
            name, password = "", ""
        known = self.registry.repositories.get(name)
        if kind == "Basic" and known and known[0] == password:
            return name
        if needed:
            raise Fault(401, "Bad credentials.")
        return None

    def _read(self, _body: bytes) -> tuple[int, Any]:
        doi = self._doi()
        found = self.registry.dois.get(doi)
        owner = self._repository(needed=False)
        if found is None or (found["state"] != "findable" and found["repository"] != owner):
            raise Fault(404, "The resource you are looking for doesn't exist.")
        return 200, _document(doi, found)

    def _write(self, body: bytes) -> tuple[int, Any]:
        owner = self._repository()
        if (self.headers.get("Content-Type") or "").partition(";")[0] != MEDIA_TYPE:
            raise Fault(415, f"Content-Type must be {MEDIA_TYPE}.")
        wanted = _attributes(body)
        doi = self._doi() if self.command == "PUT" else str(wanted.get("doi", "")).lower()
        if not DOI.fullmatch(doi):
            raise Fault(422, "is invalid", "doi")
        if doi.partition("/")[0] not in self.registry.repositories[owner or ""][1]:
            raise Fault(403, "You are not authorized to access this resource.")
        before = self.registry.dois.get(doi)
        if before and self.command == "POST":
            raise Fault(422, "This DOI has already been taken", "doi")
        if before and before["repository"] != owner:
            raise Fault(403, "You are not authorized to access this resource.")
        event = wanted.pop("event", None)
        state = before["state"] if before else "draft"
        state = MOVES.get((state, event), state)  # one that does not fit is passed over
        attributes = {**(before["attributes"] if before else {}), **wanted}
        _validate(attributes, state)
        self.registry.dois[doi] = {"state": state, "attributes": attributes, "repository": owner}
        self.registry.created += before is None
        return (200 if before else 201), _document(doi, self.registry.dois[doi])

    def _delete(self, _body: bytes) -> tuple[int, Any]:
        owner, doi = self._repository(), self._doi()
        found = self.registry.dois.get(doi)
        if found is None or found["repository"] != owner:
            raise Fault(404, "The resource you are looking for doesn't exist.")
        if found["state"] != "draft":
            raise Fault(405, "Method not allowed")
        del self.registry.dois[doi]
        return 204, None


def _attributes(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)["data"]
        if data["type"] != "dois":
            raise Fault(422, "must be dois", "type")
        return dict(data["attributes"])
    except (ValueError, KeyError, TypeError):
        raise Fault(400, "You need to provide a payload following the JSONAPI spec") from None


def _validate(attributes: dict[str, Any], state: str) -> None:
    url = attributes.get("url")
    if url is not None and not URL.fullmatch(str(url)):
        raise Fault(422, "URL is not valid", "url")
    if state == "draft":
        return
    for needed in ("url", "creators", "titles", "publisher", "publicationYear", "types"):
        if not attributes.get(needed):
            raise Fault(422, "can't be blank", needed)
    faults = sorted(schema45.validator.iter_errors(attributes), key=str)
    if faults:
        raise Fault(422, faults[0].message, ".".join(map(str, faults[0].absolute_path)) or "metadata")


def _document(doi: str, found: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"id": doi, "type": "dois", "attributes": {**found["attributes"], "state": found["state"]}}}
