"""Errors as problem documents (RFC 9457); the only place that knows HTTP status codes.

Invariant: every BurstError has a status; what is no BurstError says nothing of its cause to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway import errors, wire

STATUS: tuple[tuple[type[errors.BurstError], HTTPStatus], ...] = (
    (errors.BadSignature, HTTPStatus.UNAUTHORIZED),
    (errors.SignatureExpired, HTTPStatus.UNAUTHORIZED),
    (errors.SignatureReplayed, HTTPStatus.UNAUTHORIZED),
    (errors.TooManyTries, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.DeviceError, HTTPStatus.BAD_REQUEST),
    (errors.TokenError, HTTPStatus.BAD_REQUEST),
    (errors.NotAllowed, HTTPStatus.FORBIDDEN),
    (errors.InsufficientFunds, HTTPStatus.PAYMENT_REQUIRED),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.AuditBroken, HTTPStatus.CONFLICT),
    (errors.LedgerBroken, HTTPStatus.CONFLICT),
    (errors.InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.SchedulerRefused, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.SchedulerUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.DoiUnavailable, HTTPStatus.BAD_GATEWAY),
    (errors.DoiRefused, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.StoreUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.DatabaseUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.BurstError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""The first row whose class fits counts."""

MEDIA_TYPE = "application/problem+json"

_HINTS = {
    HTTPStatus.METHOD_NOT_ALLOWED: "the header Allow says which methods there are",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "a job script has at most 4 MB, and inputs are uploaded to the store",
}

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}

RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Refused: the request is at fault", "content": _CONTENT},
    "5XX": {"description": "Failed: the gateway, Slurm or the store is at fault", "content": _CONTENT},
}
"""What every endpoint may answer besides its own, for the OpenAPI document."""


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` as a problem document, and say so in its OpenAPI document."""
    app.exception_handler(errors.BurstError)(_burst_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_internal_error)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["schemas"]["Problem"] = wire.Problem.model_json_schema()
        return document

    # FastAPI's own way to extend the document.
    app.openapi = openapi  # type: ignore[method-assign]


def problem_of(error: errors.BurstError) -> wire.Problem:
    """The document of an error of ours."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return wire.Problem(
        title=status.phrase,
        status=status,
        detail=error.detail,
        code=error.code,
        hint=error.hint,
        field=error.field,
        line=getattr(error, "line", None),
        exit_code=getattr(error, "exit_code", None),
        retryable=error.retryable,
    )


async def tell_refused(request: Request, error: errors.BurstError) -> None:
    """Tell the audit log of a signed request that the policy refused; who did not sign is nobody."""
    caller = getattr(request.state, "caller", None)
    concealed = isinstance(error, errors.NotFound) and error.reason is not None
    if caller is None or not (concealed or isinstance(error, errors.Refused)):
        return
    address = request.client.host if request.client else "unknown"
    await run_in_threadpool(request.app.state.gateway.audit.refused, caller, error, address)


async def _burst_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.BurstError)  # noqa: S101
    await tell_refused(request, error)
    after = getattr(error, "retry_after_s", None)
    return _respond(problem_of(error), None if after is None else {"Retry-After": str(after)})


async def _validation_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return _respond(
        wire.Problem(
            title=status.phrase,
            status=status,
            detail=f"{field}: {first['msg']}" if field else str(first["msg"]),
            code=errors.InvalidRequest.code,
            hint="see /docs for the request's form",
            field=field or None,
        )
    )


async def _http_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_")
    hint = _HINTS.get(status, "see /docs for what can be asked")
    problem = wire.Problem(title=status.phrase, status=status, detail=str(error.detail), code=code, hint=hint)
    return _respond(problem, error.headers)


async def _internal_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    # The server logs the error itself, with its traceback, once this has been answered.
    return _respond(problem_of(errors.BurstError("The gateway failed.", hint="its log says why; tell its operator")))


def _respond(problem: wire.Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Burst"}
    return JSONResponse(problem.model_dump(), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)
