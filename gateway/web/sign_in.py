"""Sign in and out.

Invariant: after a sign-in one goes to a page of this gateway and nowhere else.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import RedirectResponse

from gateway.errors import BurstError, CodeNeeded, InvalidRequest, NotAllowed, TooManyTries
from gateway.identity.browsers import form_token, make_cookie
from gateway.service.devices import VERIFY_PATH
from gateway.service.gateway import Gateway
from gateway.web.pages import page
from gateway.web.refusals import status_of
from gateway.web.visits import COOKIE, Address, Form, TheForm, TheGateway, TheVisit, give_cookie, take_cookie

router = APIRouter()

HOME = "/web/jobs"


@router.get("/sign-in")
def sign_in_page(gateway: TheGateway, request: Request, next: str = HOME) -> Response:  # noqa: A002 - in the URL
    """The form; its cookie makes it this browser's own."""
    cookie = request.cookies.get(COOKIE) or make_cookie()
    response = form_page(request, gateway, ours(next), token=form_token(cookie))
    give_cookie(response, cookie, gateway)
    return response


@router.post("/sign-in")
def sign_in(
    gateway: TheGateway, request: Request, form: TheForm, address: Address, user_agent: Annotated[str, Header()] = ""
) -> Response:
    """Trade a password for a cookie, and certify the key that the browser made for itself."""
    user, back = form.get("user", "").strip(), ours(form.get("next", HOME))
    try:
        cookie, _ = gateway.browsers.sign_in(
            user,
            form.get("password", ""),
            public_key(form),
            address=address,
            agent=user_agent,
            code=form.get("code") or None,
        )
    except NotAllowed as error:
        if not isinstance(error, TooManyTries | CodeNeeded):
            _count(gateway, back)
        code = isinstance(error, CodeNeeded) or "code" in form
        return form_page(request, gateway, back, status=status_of(error), user=user, said=error, code=code)
    response = RedirectResponse(back, HTTPStatus.SEE_OTHER)
    give_cookie(response, cookie, gateway)
    return response


@router.post("/sign-out")
def sign_out(gateway: TheGateway, visit: TheVisit, form: TheForm) -> Response:  # noqa: ARG001 - the form proves itself
    """End the sign-in, and the session of the browser's key."""
    gateway.browsers.sign_out(visit.browser)
    response = RedirectResponse("/web/sign-in", HTTPStatus.SEE_OTHER)
    take_cookie(response)
    return response


def form_page(
    request: Request, gateway: Gateway, back: str, *, said: BurstError | None = None, **facts: Any
) -> Response:
    """The form with every way to sign in; ``said`` is why an earlier try did not do."""
    ways = {"party": gateway.passkeys.party, "institutions": gateway.institutions.all}
    response = page(request, "sign_in.html", **{"user": "", "code": False, "next": back, "said": said, **ways, **facts})
    if isinstance(said, TooManyTries):
        response.headers["Retry-After"] = str(said.retry_after_s)
    return response


def public_key(form: Form) -> dict[str, str] | None:
    """The browser's key; None from a browser without script."""
    text = form.get("public_key", "")
    if not text:
        return None
    try:
        members = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The browser's key cannot be read.", hint="open the page again") from error
    if not isinstance(members, dict):
        raise InvalidRequest("The browser's key cannot be read.", hint="open the page again")
    return {str(name): str(value) for name, value in members.items()}


def ours(next_page: str) -> str:
    """A page of this gateway's, whatever was asked for."""
    parts = urlsplit(next_page)
    plain = not parts.scheme and not parts.netloc and "\\" not in next_page
    return next_page if plain and parts.path.startswith("/web/") else HOME


def _count(gateway: Gateway, back: str) -> None:
    """A wrong password on the way to a device login counts against its code."""
    parts = urlsplit(back)
    if parts.path == VERIFY_PATH:
        for code in parse_qs(parts.query).get("code", [])[:1]:
            gateway.devices.count_wrong_password(code)
