"""Web: HTTP as the agent speaks it, to the gateway and to the object store.

Invariant: no error tells a URL's query, which in a presigned URL is a credential.
"""

from __future__ import annotations

import http.client
import json
import logging
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

BLOCK = 1 << 20
TIMEOUT_S = 60.0
LONGEST_PAUSE_S = 15.0

log = logging.getLogger("agent")
Json = dict[str, Any]
T = TypeVar("T")


class Unavailable(Exception):
    """Nobody answered, or the answer was "later"."""


class Refused(Exception):
    """The answer is no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


def patiently(act: Callable[[], T], patience_s: float) -> T:
    """Do it, again while the other side is away, at growing intervals. Raises Unavailable after ``patience_s``."""
    ends, pause = time.monotonic() + patience_s, 0.1
    while True:
        try:
            return act()
        except Unavailable as error:
            if time.monotonic() + pause > ends:
                raise
            log.info("wait: %s", error)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


class Web:
    """HTTP/1.1 with one kept connection a host; it follows no redirect and uses no proxy."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._dates: dict[str, str] = {}

    def date(self, url: str) -> float | None:
        """When that server last answered, by its own clock (RFC 9110 section 6.6.1), in seconds since 1970."""
        try:
            return parsedate_to_datetime(self._dates[urlsplit(url).netloc]).timestamp()
        except (KeyError, ValueError):
            return None

    def post(self, url: str, content: bytes, headers: dict[str, str]) -> Json:
        """POST JSON, return the JSON object that is answered."""
        return dict(json.loads(self.exchange("POST", url, content, {"Content-Type": "application/json", **headers})))

    def exchange(
        self,
        method: str,
        url: str,
        content: bytes | Iterable[bytes] = b"",
        headers: dict[str, str] | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> bytes:
        """One request; the body of a good answer, or b"" after ``take`` had it block by block.

        Raises Unavailable for no answer, 408, 429 and 5xx; Refused for the other answers that are not 2xx.
        """
        parts = urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        place = (parts.scheme, parts.netloc)
        what = f"{method} {parts.netloc}{parts.path}"
        connection = self._idle.pop(place, None) or kinds[parts.scheme](parts.netloc, timeout=TIMEOUT_S)
        try:
            connection.request(method, parts._replace(scheme="", netloc="").geturl(), content, headers or {})
            answer = connection.getresponse()
            self._dates[parts.netloc] = answer.getheader("Date", "")
            body = _read(answer, take)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(f"{what}: {error or type(error).__name__}") from error
        self._idle[place] = connection
        _check(answer.status, what, body)
        return body


def _read(answer: http.client.HTTPResponse, take: Callable[[bytes], None] | None) -> bytes:
    if take is None or answer.status != HTTPStatus.OK:
        return answer.read()
    while block := answer.read(BLOCK):
        take(block)
    return b""


def _check(status: int, what: str, body: bytes) -> None:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }:
        raise Unavailable(f"{what}: {status}")
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        raise Refused(status, f"{what}: {body[:500].decode(errors='replace')}")


web = Web()
