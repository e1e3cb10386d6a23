"""Factors: an authenticator app beside the password, enrolled, renewed and removed on the account's page.

Invariant: every form but the one with the app's first code asks for the password anew; the secret and the recovery
codes are on the page that answers the form, and on no other.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar

import segno
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup
from pydantic import BaseModel, ValidationError

from gateway import wire
from gateway.errors import BurstError, InvalidRequest
from gateway.identity.authenticate import Present
from gateway.web.account import ACCOUNT
from gateway.web.pages import page
from gateway.web.refusals import status_of
from gateway.web.visits import Address, Form, TheForm, TheGateway, TheVisit

router = APIRouter()

_LONGEST_URI = 512

T = TypeVar("T", bound=BaseModel)


@router.post("/account/totp")
def begin(gateway: TheGateway, visit: TheVisit, request: Request, form: TheForm, address: Address) -> Response:
    """Show the secret of a new app, and ask for its first code."""
    found = gateway.factors.begin_totp(Present(visit.reader.user), _password(form), address)
    return _secret(request, visit, found)


@router.post("/account/totp/confirm")
def confirm(gateway: TheGateway, visit: TheVisit, request: Request, form: TheForm, address: Address) -> Response:
    """The first code; a wrong one may be typed again, as long as the secret is on the page."""
    code = _read(wire.ConfirmRequest, code=_digits(form))
    try:
        codes = gateway.factors.confirm_totp(Present(visit.reader.user), code, address)
    except BurstError as error:
        uri = form.get("uri", "")
        if not uri.startswith("otpauth://totp/") or len(uri) > _LONGEST_URI:
            raise
        return _secret(request, visit, wire.TotpSecret(uri=uri, secret=form.get("secret", "")), said=error)
    return page(request, "totp_codes.html", visit, codes=codes.codes)


@router.post("/account/totp/codes")
def renew(gateway: TheGateway, visit: TheVisit, request: Request, form: TheForm, address: Address) -> Response:
    """Ten new recovery codes."""
    codes = gateway.factors.new_recovery_codes(Present(visit.reader.user), _password(form), address)
    return page(request, "totp_codes.html", visit, codes=codes.codes)


@router.post("/account/totp/remove")
def remove(gateway: TheGateway, visit: TheVisit, form: TheForm, address: Address) -> Response:
    """Need no code any more."""
    gateway.factors.remove_totp(Present(visit.reader.user), _password(form), address)
    return RedirectResponse(ACCOUNT, HTTPStatus.SEE_OTHER)


def _secret(request: Request, visit: TheVisit, found: wire.TotpSecret, said: BurstError | None = None) -> Response:
    drawn = segno.make(found.uri, micro=False).svg_inline(scale=5, border=4, dark="#000", light="#fff")
    status = HTTPStatus.OK if said is None else status_of(said)
    facts = {"code": Markup(drawn), "uri": found.uri, "secret": found.secret, "said": said}  # noqa: S704 - drawn here
    return page(request, "totp_enrol.html", visit, status=status, **facts)


def _password(form: Form) -> wire.PasswordProof:
    return _read(wire.PasswordProof, password=form.get("password", ""), code=_digits(form) or None)


def _digits(form: Form) -> str:
    """People type the blank that their app shows in the middle."""
    return "".join(form.get("code", "").split())


def _read(kind: type[T], **fields: object) -> T:
    try:
        return kind(**fields)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise InvalidRequest(f"The {field} cannot be one.", hint="go back and type it again", field=field) from None
