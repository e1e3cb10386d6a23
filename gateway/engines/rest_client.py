"""RestClient: one slurmrestd, asked in the API version that both ends know, with Slurm's errors as ours.

Invariant: a request that may have reached Slurm is never sent twice, unless sending it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from gateway.engines.relay import Relayed
from gateway.errors import NotFound, SchedulerError, SchedulerRefused, SchedulerUnavailable

VERSIONS = ("v0.0.42", "v0.0.43", "v0.0.44")
"""API versions that the adapter is written for, best first; 24.11 to 26.05 all serve the first."""

ALREADY_DONE = 2021
"""ESLURM_ALREADY_DONE of slurm_errno.h."""

_NO_SUCH_JOB = 2017
# Communication errors (1001 to 1004, 1800 to 1805), standby (2027) and a timeout of the socket (5004).
_UNREACHABLE = frozenset({*range(1001, 1005), *range(1800, 1806), 2027, 5004})
_VAGUE = frozenset({-1, 1})
"""What some calls say when the controller is away: "Unspecified error", "Operation not permitted"."""
_NOT_FOUND_STATUS = 404
_NOT_ALLOWED_STATUS = 401
_RETRY_HINT = "Slurm's controller or its REST server is down or starting; the gateway tries again by itself"
_LOST_HINT = "Slurm may have acted on it: look the job up by its token before anything is sent again"


class RestClient:
    """Thread-safe; keeps its connections open. ``url`` is http://HOST:PORT or unix:PATH."""

    def __init__(self, url: str, user: str, token: Callable[[], str], timeout_s: float) -> None:
        self._http = _opened(url, timeout_s)
        self._user = user
        self._token = token
        self._version: str | None = None

    def get(self, path: str) -> dict[str, Any]:
        """GET ``path`` below ``/slurm/VERSION``; asked a second time if the server closed an idle connection.

        Raises what ``send`` raises.
        """
        try:
            return self.send("GET", path)
        except SchedulerUnavailable as error:
            if isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.ReadError):
                return self.send("GET", path)
            raise

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One request and its JSON answer.

        Raises SchedulerUnavailable, NotFound (no such job), SchedulerRefused with Slurm's own text, or SchedulerError
        where the answer is not Slurm's.
        """
        return self._exchange(method, f"/slurm/{self.version()}{path}", body, params)

    def kill(self, target: str, params: Mapping[str, str] | None = None) -> None:
        """DELETE a job or array task ("12", "12_3"), or send it the signal of ``params``.

        slurmrestd answers this with HTTP 200 whatever Slurm said; the outcome of each job is in ``status``. Raises what
        ``send`` raises; an array of which only some tasks had ended is no error.
        """
        answer = self.send("DELETE", f"/job/{target}", params=params)
        outcomes = [status.get("error") or {} for status in answer.get("status") or ()]
        failed = [{"error_number": error["code"], "error": error["string"]} for error in outcomes if error.get("code")]
        worse = [error for error in failed if error["error_number"] != ALREADY_DONE]
        if worse or (failed and len(failed) == len(outcomes)):
            raise _refusal(worse or failed, safe=False)

    def controller_answers(self) -> bool:
        """Whether slurmctld is up: slurmrestd finds out in milliseconds, while its other calls wait for long."""
        pings = self.get("/ping").get("pings") or [{}]
        return any(ping.get("pinged") == "UP" for ping in pings)

    def relay(self, method: str, path: str, query: str = "", body: Mapping[str, Any] | None = None) -> Relayed:
        """One request of somebody else's, and slurmrestd's answer whatever it is. Raises SchedulerUnavailable."""
        target = f"/slurm/{VERSIONS[0]}{path}"
        response = self._send(method, f"{target}?{query}" if query else target, body, None)
        return Relayed(response.status_code, response.headers.get("content-type", "text/plain"), response.content)

    def version(self) -> str:
        """The API version in use, asked for once. Raises SchedulerError if the server has none that we know."""
        if self._version is None:
            self._version = self._negotiate()
        return self._version

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _negotiate(self) -> str:
        for version in VERSIONS:
            try:
                self._exchange("GET", f"/slurm/{version}/ping", None, None)
            except NotFound:
                continue
            return version
        raise SchedulerError(
            f"this slurmrestd serves none of {', '.join(VERSIONS)}", hint="Slurm 24.11 to 26.05 is supported"
        )

    def _exchange(
        self, method: str, path: str, body: Mapping[str, object] | None, params: Mapping[str, str] | None
    ) -> dict[str, Any]:
        response = self._send(method, path, body, params)
        try:
            return _answer(response, safe=method == "GET")
        except SchedulerRefused as refusal:
            if refusal.errno in _VAGUE and not self.controller_answers():
                raise SchedulerUnavailable("Unable to contact slurm controller", hint=_RETRY_HINT) from refusal
            raise

    def _send(
        self, method: str, path: str, body: Mapping[str, object] | None, params: Mapping[str, str] | None
    ) -> httpx2.Response:
        headers = {"X-SLURM-USER-NAME": self._user, "X-SLURM-USER-TOKEN": self._token()}
        try:
            return self._http.request(method, path, json=body, params=params, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise SchedulerUnavailable(f"slurmrestd cannot be reached: {error}", hint=_RETRY_HINT) from error
        except httpx2.TransportError as error:
            hint = _RETRY_HINT if method == "GET" else _LOST_HINT
            raise SchedulerUnavailable(f"slurmrestd did not answer: {error}", hint=hint) from error


def _opened(url: str, timeout_s: float) -> httpx2.Client:
    scheme, _, path = url.partition(":")
    if scheme != "unix":
        return httpx2.Client(base_url=url, timeout=timeout_s)
    # Enough connections for every worker; a socket's peer is known by its uid, so there is no host to name.
    return httpx2.Client(base_url="http://localhost", transport=httpx2.HTTPTransport(uds=path), timeout=timeout_s)


def _answer(response: httpx2.Response, *, safe: bool) -> dict[str, Any]:
    """The JSON of an answer without errors."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _no_answer(response)
    errors = [error for error in answer.get("errors") or () if isinstance(error, dict)]
    if errors:
        raise _refusal(errors, safe=safe)
    if response.is_error:
        raise _no_answer(response)
    return answer


def _no_answer(response: httpx2.Response) -> SchedulerError | NotFound:
    text = response.text.strip()[:200]
    if response.status_code == _NOT_FOUND_STATUS:
        return NotFound(f"slurmrestd has no {response.request.url.path}")
    if response.status_code == _NOT_ALLOWED_STATUS:
        return SchedulerError(f"slurmrestd does not accept our token: {text}", hint="is jwt.key the cluster's own?")
    return SchedulerError(f"slurmrestd answered {response.status_code}: {text}", hint="read slurmrestd's log")


def _refusal(errors: list[dict[str, Any]], *, safe: bool) -> SchedulerError | NotFound:
    """Slurm's errors as one of ours; the first carries the number, the others only add to it."""
    number = next((int(error["error_number"]) for error in errors if error.get("error_number")), 0)
    text = _words(errors[0])
    if number in _UNREACHABLE:
        return SchedulerUnavailable(text, hint=_RETRY_HINT if safe else _LOST_HINT)
    if number == _NO_SUCH_JOB:
        return NotFound(text)
    return SchedulerRefused(text, errno=number or None)


def _words(error: Mapping[str, Any]) -> str:
    number, text = error.get("error_number"), error.get("error")
    # An error without a number is slurmrestd's own; its "error" then says "No error".
    return str((text if number else None) or error.get("description") or text or "Slurm gave no reason")
