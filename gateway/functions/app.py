"""The function's HTTP app: ``POST /call``, in Fn's form on its socket, or with a bearer token.

Source: Fn's format of functions, http-stream (fnproject/docs, fn-format): 200 is a call that worked, 502 one that
failed, 504 one that ran out of time; what an HTTP caller behind Fn sees travels in ``Fn-Http-Status``.

Invariant: an answer tells of an error what the gateway says to its user, and nothing else.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from gateway.client.simulation import Simulation
from gateway.errors import BurstError, InvalidRequest, NotAllowed, NotFound
from gateway.functions.call import call

log = structlog.get_logger(__name__)

MOST_BYTES = 64 * 1024
"""A call's body: a few parameters."""
WAIT_S = 60.0
"""How long a caller waits who does not say."""
_LONGEST_WAIT_S = 3600.0
_MARGIN_S = 2.0
"""An answer must be out before Fn's own deadline."""

_STATUS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (NotAllowed, HTTPStatus.FORBIDDEN),
    (NotFound, HTTPStatus.NOT_FOUND),
    (InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Exception, HTTPStatus.BAD_GATEWAY),
)
"""The first row whose class fits counts."""
_PREFER = re.compile(r"\bwait=([0-9]{1,6})\b")


@dataclass(frozen=True)
class _Reply:
    """What a caller is told, whatever way it came."""

    status: HTTPStatus
    document: dict[str, Any]


def create_app(simulation: Simulation, token: str | None) -> FastAPI:
    """The app of one simulation; ``token`` is what callers must show, None where Fn alone can call."""
    app = FastAPI(title=simulation.title, docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/call")
    async def called(request: Request) -> Response:
        body = await _body(request)
        reply = await run_in_threadpool(_reply, simulation, token, request.headers, body)
        return _http(reply) if token is not None else _fn(reply, request.headers)

    return app


async def _body(request: Request) -> bytes:
    taken = b""
    async for block in request.stream():
        taken += block
        if len(taken) > MOST_BYTES:
            break
    return taken


def _reply(simulation: Simulation, token: str | None, headers: Headers, body: bytes) -> _Reply:
    if token is not None and not _shown(token, headers):
        return _Reply(HTTPStatus.UNAUTHORIZED, {"error": "the bearer token is missing or wrong"})
    try:
        answer = call(simulation, _values(body), within_s=_wait_s(headers), key=headers.get("fn-call-id"))
    except BurstError as error:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return _Reply(status, {"error": error.detail, "hint": error.hint, "code": error.code, "field": error.field})
    except Exception:
        log.exception("a call failed")
        return _Reply(HTTPStatus.BAD_GATEWAY, {"error": "the function failed", "hint": "its log says why"})
    return _Reply(HTTPStatus.OK if answer.finished else HTTPStatus.ACCEPTED, dict(answer.document))


def _shown(token: str, headers: Headers) -> bool:
    given = headers.get("authorization", "").removeprefix("Bearer ")
    return hmac.compare_digest(given.encode(), token.encode())


def _values(body: bytes) -> object:
    if len(body) > MOST_BYTES:
        raise InvalidRequest(f"the body has more than {MOST_BYTES} bytes", hint="inputs are named in the job's script")
    try:
        return json.loads(body or b"{}")
    except ValueError:
        raise InvalidRequest("the body is not JSON", hint='send {"PARAMETER": VALUE, …}') from None


def _wait_s(headers: Headers) -> float:
    """Until Fn's deadline (RFC 3339), or as long as ``Prefer: wait=SECONDS`` says (RFC 7240)."""
    if deadline := headers.get("fn-deadline"):
        try:
            left = (datetime.fromisoformat(deadline) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return WAIT_S
        return max(0.0, left - _MARGIN_S)
    found = _PREFER.search(headers.get("prefer", ""))
    return min(float(found[1]), _LONGEST_WAIT_S) if found else WAIT_S


def _http(reply: _Reply) -> Response:
    extra = {"WWW-Authenticate": "Bearer"} if reply.status is HTTPStatus.UNAUTHORIZED else None
    return Response(_json(reply), reply.status, headers=extra, media_type="application/json")


def _fn(reply: _Reply, headers: Headers) -> Response:
    """A caller behind a trigger has the true status in a header; to Fn a call either worked or failed."""
    worked = reply.status < HTTPStatus.INTERNAL_SERVER_ERROR
    extra = {"Fn-Fdk-Version": "burst-gateway/1", "Fn-Fdk-Runtime": "python"}
    if headers.get("fn-intent") == "httprequest":
        extra |= {"Fn-Http-Status": str(int(reply.status)), "Fn-Http-H-Content-Type": "application/json"}
    elif reply.status >= HTTPStatus.BAD_REQUEST:
        worked = False
    status = HTTPStatus.OK if worked else HTTPStatus.BAD_GATEWAY
    return Response(_json(reply), status, headers=extra, media_type="application/json")


def _json(reply: _Reply) -> bytes:
    return json.dumps(reply.document).encode()
