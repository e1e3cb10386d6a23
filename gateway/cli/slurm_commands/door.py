"""Door: the gateway's Slurm API, looked at with a token that is kept beside the login.

Invariant: a look costs one request and the standard library; only a new token, once a login, loads what signs. An
answer that did not come is a Failure in Slurm's words, never an empty list.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from gateway.cli.slurm_commands.failure import Failure

SLURM, SLURMDB = "/slurm/v0.0.42", "/slurmdb/v0.0.42"
RELEASE = "24.11.5"
"""Whose formats the commands have."""

_PATIENCE_S = 30.0
_NOT_BELIEVED = (401, 511)
_ERROR = 400
AWAY = "Unable to contact slurm controller (connect failure)"


@dataclass(frozen=True)
class Answer:
    """One answer: HTTP status, headers in lower case, JSON document."""

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any]

    @property
    def errno(self) -> int:
        """Slurm's number of the first error; 0: none."""
        return next((int(error.get("error_number") or 0) for error in self.document.get("errors") or ()), 0)

    @property
    def words(self) -> str:
        """Slurm's text of the first error."""
        return next((str(error.get("error") or "") for error in self.document.get("errors") or ()), "")


@dataclass(frozen=True)
class Login:
    """What a command needs of the kept login."""

    url: str
    user: str
    session: str
    token_file: str


def get(path: str, **query: str) -> Answer:
    """GET a path of the gateway. Raises Failure when nobody answers, or there is no login."""
    known = login()
    target = f"{path}?{urlencode(query)}" if query else path
    token = _kept(known)
    answer = _ask(known, target, token) if token else None
    if answer is None or answer.status in _NOT_BELIEVED:
        answer = _ask(known, target, _new(known))
    if answer.status in _NOT_BELIEVED:
        raise Failure(f"slurm_load error: {answer.words or 'Authentication failure'}; burst login {known.url}")
    return answer


def login() -> Login:
    """The kept login; BURST_URL, if set, wins over its URL. Raises Failure without one."""
    path = _profile()
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is 5 ms
            kept = json.load(file)
        return Login(os.environ.get("BURST_URL") or kept["url"], kept["user"], kept["session"], f"{path}.slurm")
    except FileNotFoundError:
        raise Failure("burst: error: you are not logged in; burst login URL") from None
    except (OSError, ValueError, KeyError):
        raise Failure(f"burst: error: {path} is not a profile; log in again: burst login URL") from None


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def _profile() -> str:
    """As ``gateway.client.profile`` has it; that one is loaded only for what is unusual."""
    name = os.environ.get("BURST_PROFILE") or "default"
    folder = os.environ.get("BURST_CONFIG")
    if folder is None and sys.platform == "linux":
        top = os.environ.get("XDG_CONFIG_HOME", "").strip() or f"{os.path.expanduser('~')}/.config"  # noqa: PTH111
        folder = f"{top}/burst-gateway"
    if folder is None or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        from gateway.client import profile  # noqa: PLC0415 - the slow way

        return str(profile.profile_path())
    return f"{folder}/profiles/{name}.json"


def _kept(known: Login) -> str:
    """The token of this very session, if one is kept."""
    try:
        with open(known.token_file, encoding="utf-8") as file:  # noqa: PTH123
            session, _, token = file.read().partition("\n")
    except OSError:
        return ""
    return token if session == known.session else ""


def _new(known: Login) -> str:
    """Ask for a token with a signature, and keep it, readable by its owner only."""
    from gateway.cli.slurm_commands import signed  # noqa: PLC0415 - loads what signs

    token = signed.token()
    temporary = f"{known.token_file}.{os.getpid()}"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{known.session}\n{token}")
    os.replace(temporary, known.token_file)  # noqa: PTH105
    return token


def _ask(known: Login, target: str, token: str) -> Answer:
    headers = {"X-SLURM-USER-NAME": known.user, "X-SLURM-USER-TOKEN": token, "Accept": "application/json"}
    try:
        status, found, body = _exchange(known.url, target, headers)
    except OSError as error:
        raise Failure(f"slurm_load error: {AWAY}\nburst: no answer from {known.url}: {error}") from None
    try:
        document = json.loads(body)
    except ValueError:
        document = {"errors": [{"error": body.decode(errors="replace")[:200]}]} if status >= _ERROR else {}
    return Answer(status, found, document if isinstance(document, dict) else {})


def _exchange(url: str, target: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """One GET. HTTP/1.0 over a socket: http.client takes 40 ms to load, more than the whole request."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return _secure(url, target, headers)
    host = parts.hostname or "localhost"
    lines = [f"GET {target} HTTP/1.0", f"Host: {parts.netloc}", *(f"{name}: {text}" for name, text in headers.items())]
    with socket.create_connection((host, parts.port or 80), timeout=_PATIENCE_S) as link:
        link.sendall("\r\n".join([*lines, "", ""]).encode())
        received = b"".join(iter(lambda: link.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    found = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in rest)}
    if not first.startswith("HTTP/") or len(body) != int(found.get("content-length", len(body))):
        raise ConnectionError("the answer was cut off")
    return int(first.split()[1]), found, body


def _secure(url: str, target: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    from http.client import HTTPSConnection  # noqa: PLC0415 - not needed for a gateway on this machine

    parts = urlsplit(url)
    link = HTTPSConnection(parts.hostname or "", parts.port, timeout=_PATIENCE_S)
    link.request("GET", parts.path.rstrip("/") + target, headers=dict(headers))
    answer = link.getresponse()
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
