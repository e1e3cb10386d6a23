"""Institutions: to their sign-in pages and back; link and unlink an account there.

Invariant: a redirect of another site brings no cookie of our pages along (SameSite=Strict), so the way there has one of
its own, for these addresses alone; nothing that comes back is believed before the service has judged it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import RedirectResponse

from gateway.identity.institutions import LIFETIME
from gateway.service.gateway import Gateway
from gateway.web.pages import page
from gateway.web.sign_in import HOME, ours, public_key
from gateway.web.visits import Address, TheForm, TheGateway, TheVisit, form_of, give_cookie

router = APIRouter()

ACCOUNT = "/web/account"
WAY_COOKIE = "burst_way"
_PATH = "/web/institutions"
_LONGEST_NEXT = 512


@router.post("/institutions/{name}/begin")
def begin(gateway: TheGateway, request: Request, name: str, form: TheForm, address: Address) -> Response:
    """Go and sign in there."""
    back = ours(form.get("next", HOME))
    back = back if len(back) <= _LONGEST_NEXT else HOME
    cookie, url = gateway.institutions.begin(name, back, address, public_key=public_key(form))
    return _on_the_way(request, gateway, name, cookie, url)


@router.post("/institutions/{name}/link", dependencies=[Depends(form_of)])
def link(
    gateway: TheGateway,
    visit: TheVisit,
    request: Request,
    name: str,
    address: Address,
) -> Response:
    """Go and show who one is there, to be known here by it from then on."""
    cookie, url = gateway.institutions.begin(name, ACCOUNT, address, linked_by=visit.browser)
    return _on_the_way(request, gateway, name, cookie, url)


@router.get("/institutions/{name}/return")
def arrive(
    gateway: TheGateway, request: Request, name: str, address: Address, user_agent: Annotated[str, Header()] = ""
) -> Response:
    """Take the institution's answer."""
    answer: Mapping[str, str] = request.query_params
    arrived = gateway.institutions.arrive(
        name, request.cookies.get(WAY_COOKIE), answer, address=address, agent=user_agent
    )
    response = page(request, "institution_arrived.html", arrived=arrived)
    if arrived.cookie is not None:
        give_cookie(response, arrived.cookie, gateway)
    response.delete_cookie(WAY_COOKIE, path=_PATH, httponly=True, samesite="lax")
    return response


@router.post("/institutions/identities/{identity}/unlink")
def unlink(gateway: TheGateway, visit: TheVisit, identity: str, form: TheForm, address: Address) -> Response:  # noqa: ARG001
    """Be known here by it no more."""
    gateway.institutions.unlink(visit.browser, identity, address)
    return RedirectResponse(ACCOUNT, HTTPStatus.SEE_OTHER)


def _on_the_way(request: Request, gateway: Gateway, name: str, cookie: str, url: str) -> Response:
    # A page that leads on, and no redirect: the content policy lets forms go to this gateway alone.
    institution = next(each for each in gateway.institutions.all if each.name == name)
    response = page(request, "institution_leave.html", institution=institution, url=url)
    response.set_cookie(
        WAY_COOKIE,
        cookie,
        max_age=int(LIFETIME.total_seconds()),
        path=_PATH,
        secure=gateway.people.site_url.startswith("https:"),
        httponly=True,
        samesite="lax",
    )
    return response
