"""Refusals: errors as pages; who is not signed in is led to the sign-in page and back.

Invariant: what is no error of ours says nothing of its cause.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from gateway import errors
from gateway.web.pages import page

_STATUS: tuple[tuple[type[errors.BurstError], HTTPStatus], ...] = (
    (errors.TooManyTries, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.CodeExpired, HTTPStatus.GONE),
    (errors.NotAllowed, HTTPStatus.FORBIDDEN),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.InstitutionUnavailable, HTTPStatus.BAD_GATEWAY),
    (errors.StoreUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.BurstError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""The first row whose class fits counts."""

_FAILED = errors.BurstError("The gateway failed.", hint="its log says why; tell its operator")


def install(web: FastAPI) -> None:
    """Answer every error of ``web`` as a page."""
    web.exception_handler(errors.SignatureExpired)(_sign_in)
    web.exception_handler(errors.BurstError)(_refused)
    web.exception_handler(RequestValidationError)(_not_understood)
    web.exception_handler(HTTPException)(_http)
    web.exception_handler(Exception)(_failed)


def status_of(error: errors.BurstError) -> HTTPStatus:
    """The status that says what kind of error it is."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def refusal(request: Request, error: errors.BurstError, status: HTTPStatus | None = None) -> Response:
    """The page of an error."""
    chosen = status or status_of(error)
    response = page(request, "error.html", status=chosen, title=chosen.phrase, error=error)
    if isinstance(error, errors.TooManyTries):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


async def _sign_in(request: Request, error: Exception) -> Response:  # noqa: ARG001 - FastAPI's signature
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.headers.get("hx-request"):
        # A part of a page cannot become the sign-in page; its whole page can.
        return Response(headers={"HX-Refresh": "true"})
    return RedirectResponse(f"/web/sign-in?next={quote(back if request.method == 'GET' else '/web/jobs')}", 303)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.BurstError)  # noqa: S101
    return refusal(request, error)


async def _not_understood(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return refusal(request, errors.InvalidRequest("This address is not one of a page.", hint="go back and try again"))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    said = (
        errors.NotFound("There is no such page.")
        if status == HTTPStatus.NOT_FOUND
        else errors.BurstError(status.phrase)
    )
    return refusal(request, said, status)


async def _failed(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return refusal(request, _FAILED)
