"""The logins of whoever looks.

Invariant: the page only looks. A login is ended by a request to the API that the browser's own key signs.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.identity.scopes import ALL
from gateway.web.pages import page
from gateway.web.visits import TheGateway, TheVisit

router = APIRouter()


@router.get("/sessions")
def sessions(gateway: TheGateway, visit: TheVisit, request: Request) -> Response:
    """Every live login: what it is, from where, since when, what it may."""
    current = visit.session.id if visit.session else None
    found = gateway.sessions.mine(visit.reader, current=current)
    return page(request, "sessions.html", visit, sessions=found, everything=len(ALL))
