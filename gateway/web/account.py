"""Account: who one is here, and every way and place where one is signed in.

Invariant: one sees and ends one's own sign-ins alone.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from gateway.web.pages import page
from gateway.web.visits import Address, TheForm, TheGateway, TheVisit, take_cookie

router = APIRouter()

ACCOUNT = "/web/account"


@router.get("/account")
def account(gateway: TheGateway, visit: TheVisit, request: Request) -> Response:
    """The page."""
    user = visit.reader.user
    titles = {each.name: each.title for each in gateway.institutions.all}
    identities = gateway.institutions.of(user.name)
    return page(
        request,
        "account.html",
        visit,
        user=user,
        fresh=visit.browser.fresh(gateway.people.now()),
        factors=gateway.factors.view(visit.reader),
        party=gateway.passkeys.party,
        passkeys=gateway.passkeys.of(user.name),
        identities=[(each, titles.get(each.institution, each.institution)) for each in identities],
        institutions=gateway.institutions.all,
        browsers=gateway.browsers.all_of(visit.browser),
    )


@router.post("/account/browsers/{browser}/end")
def end_browser(gateway: TheGateway, visit: TheVisit, browser: str, form: TheForm, address: Address) -> Response:  # noqa: ARG001 - the form proves itself
    """End one sign-in, and the session of its key; one's own is a sign-out."""
    gateway.browsers.end(visit.browser, browser, address)
    if browser == visit.browser.id:
        response = RedirectResponse("/web/sign-in", HTTPStatus.SEE_OTHER)
        take_cookie(response)
        return response
    return RedirectResponse(ACCOUNT, HTTPStatus.SEE_OTHER)


@router.post("/account/browsers/end-others")
def end_others(gateway: TheGateway, visit: TheVisit, form: TheForm, address: Address) -> Response:  # noqa: ARG001
    """End all sign-ins but this one."""
    gateway.browsers.end_others(visit.browser, address)
    return RedirectResponse(ACCOUNT, HTTPStatus.SEE_OTHER)
