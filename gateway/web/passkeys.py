"""Passkeys: sign in with one; add, rename and remove one's own.

Invariant: each step is a form of this browser's own, and what the device answers is judged by the service alone.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from gateway.errors import BurstError, NotAllowed, NotFound
from gateway.web.refusals import status_of
from gateway.web.sign_in import HOME, form_page, ours, public_key
from gateway.web.visits import COOKIE, Address, TheForm, TheGateway, TheVisit, give_cookie

router = APIRouter()

ACCOUNT = "/web/account"


@router.post("/passkeys/ask")
def ask(gateway: TheGateway, request: Request, form: TheForm, address: Address) -> Response:  # noqa: ARG001 - the form proves itself
    """What the browser needs to be asked for a passkey."""
    cookie = request.cookies[COOKIE]
    return _as_json(lambda: gateway.passkeys.ask_to_sign_in(cookie, address))


@router.post("/passkeys/sign-in")
def sign_in(
    gateway: TheGateway, request: Request, form: TheForm, address: Address, user_agent: Annotated[str, Header()] = ""
) -> Response:
    """Trade a passkey's answer for a cookie, and certify the key that the browser made for itself."""
    back = ours(form.get("next", HOME))
    try:
        cookie, _ = gateway.passkeys.sign_in(
            request.cookies[COOKIE], form.get("answer", ""), public_key(form), address=address, agent=user_agent
        )
    except (NotAllowed, NotFound) as error:
        return form_page(request, gateway, back, said=error, status=status_of(error))
    response = RedirectResponse(back, HTTPStatus.SEE_OTHER)
    give_cookie(response, cookie, gateway)
    return response


@router.post("/passkeys/new")
def ask_to_add(gateway: TheGateway, visit: TheVisit, form: TheForm) -> Response:  # noqa: ARG001
    """What the browser needs to make one."""
    return _as_json(lambda: gateway.passkeys.ask_to_add(visit.browser))


@router.post("/passkeys")
def add(gateway: TheGateway, visit: TheVisit, form: TheForm, address: Address) -> Response:
    """Keep the one that a device made."""
    gateway.passkeys.add(visit.browser, form.get("name", ""), form.get("answer", ""), address)
    return RedirectResponse(ACCOUNT, HTTPStatus.SEE_OTHER)


@router.post("/passkeys/{passkey}")
def change(gateway: TheGateway, visit: TheVisit, passkey: str, form: TheForm, address: Address) -> Response:
    """Rename it, or remove it; only the word "remove" removes."""
    if form.get("do") == "remove":
        gateway.passkeys.remove(visit.browser, passkey, address)
    else:
        gateway.passkeys.rename(visit.browser, passkey, form.get("name", ""), address)
    return RedirectResponse(ACCOUNT, HTTPStatus.SEE_OTHER)


def _as_json(answer: Callable[[], dict[str, Any]]) -> Response:
    """For the page's script: what it asked for, or why not."""
    try:
        return JSONResponse(answer())
    except BurstError as error:
        return JSONResponse({"detail": error.detail, "hint": error.hint or ""}, status_of(error))
