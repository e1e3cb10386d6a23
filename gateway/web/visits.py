"""Visits: who looks, by their cookie, and the forms that they send, as FastAPI dependencies.

Invariant: a form is read only if it came from our own page in the browser that has the cookie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request, Response

from gateway.errors import InvalidRequest, Refused
from gateway.identity.browsers import check_form
from gateway.service.browsers import Visit
from gateway.service.gateway import Gateway

COOKIE = "burst_web"
_LONGEST_FORM = 16 * 1024
_MOST_FIELDS = 20
_OURS = {"same-origin", "none", ""}

Form = Mapping[str, str]


async def gateway_of(request: Request) -> Gateway:
    """The gateway behind the pages."""
    gateway: Gateway = request.app.state.gateway
    return gateway


async def address_of(request: Request) -> str:
    """Where the browser is, as the socket tells it."""
    return request.client.host if request.client else "unknown"


async def form_of(request: Request) -> Form:
    """The fields of a form. Raises Refused for one that is not of this browser, InvalidRequest for one too long."""
    # Browsers say where a form comes from; one that does not say is judged by its token alone.
    if request.headers.get("sec-fetch-site", "") not in _OURS:
        raise Refused("This form came from another site.", hint="open the page here, then send the form")
    body = await request.body()
    if len(body) > _LONGEST_FORM:
        raise InvalidRequest("The form is too long.", hint=f"at most {_LONGEST_FORM} bytes")
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise InvalidRequest("The form cannot be read.", hint="open the page again") from error
    check_form(request.cookies.get(COOKIE), fields.pop("token", None))
    return fields


TheGateway = Annotated[Gateway, Depends(gateway_of)]
Address = Annotated[str, Depends(address_of)]
TheForm = Annotated[Form, Depends(form_of)]


def visit_of(gateway: TheGateway, request: Request) -> Visit:
    """Who has signed in. Raises SignatureExpired, which leads to the sign-in page."""
    return gateway.browsers.visit(request.cookies.get(COOKIE))


TheVisit = Annotated[Visit, Depends(visit_of)]


def give_cookie(response: Response, cookie: str, gateway: Gateway) -> None:
    """Set the cookie: for our pages, for no script, and never with a request that another site began."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(gateway.people.session_lifetime.total_seconds()),
        path="/web",
        secure=gateway.people.site_url.startswith("https:"),
        httponly=True,
        samesite="strict",
    )


def take_cookie(response: Response) -> None:
    """Make the browser forget it."""
    response.delete_cookie(COOKIE, path="/web", httponly=True, samesite="strict")
