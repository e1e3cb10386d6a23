"""Approve or refuse the login of a command.

Invariant: both need a password given minutes ago and a form of this browser's own.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from gateway.errors import CodeExpired, Conflict, NotFound
from gateway.identity.scopes import ALL, WORDS, read_scopes
from gateway.service.devices import VERIFY_PATH
from gateway.web.pages import page
from gateway.web.refusals import status_of
from gateway.web.visits import Address, TheForm, TheGateway, TheVisit

router = APIRouter()

_TICK = "may."
"""Begins the name of the field of each scope."""


@router.get("/device")
def device(gateway: TheGateway, visit: TheVisit, request: Request, code: str = "") -> Response:
    """Ask for the code; with a code say who asks, from where and for how long."""
    if not visit.browser.fresh(gateway.people.now()):
        back = VERIFY_PATH + (f"?{urlencode({'code': code})}" if code else "")
        return RedirectResponse(f"/web/sign-in?next={quote(back)}", HTTPStatus.SEE_OTHER)
    if not code.strip():
        return page(request, "device.html", visit, said=None)
    try:
        login = gateway.devices.look(code, visit.browser)
    except (NotFound, CodeExpired, Conflict) as error:
        return page(request, "device.html", visit, status=status_of(error), said=error)
    hours = gateway.people.session_lifetime.total_seconds()
    asked = [(f"{_TICK}{scope}", scope, WORDS[scope]) for scope in sorted(login.scopes)]
    return page(request, "device_asks.html", visit, login=login, lasts_s=hours, asked=asked, everything=ALL)


@router.post("/device")
def decide(gateway: TheGateway, visit: TheVisit, request: Request, form: TheForm, address: Address) -> Response:
    """Do as the user says; only the word "approve" approves, and only what is ticked."""
    approve = form.get("decision") == "approve"
    ticked = [name.removeprefix(_TICK) for name in form if name.startswith(_TICK)]
    scopes = read_scopes(ticked) if ticked else frozenset()
    login = gateway.devices.decide(form.get("code", ""), visit.browser, address, approve=approve, scopes=scopes)
    given = [WORDS[scope] for scope in sorted(login.given)]
    return page(request, "device_done.html", visit, login=login, approved=approve, given=given)
