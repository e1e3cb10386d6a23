"""Logins over HTTP: seeing them and ending them, each by a signed request."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status

from gateway import wire
from gateway.api.signed import TheGateway, TheUser

router = APIRouter(prefix="/api/v1", tags=["accounts"])

SessionId = Annotated[str, Path(max_length=64, pattern=wire.ONE_LINE)]
User = Annotated[str | None, Query(max_length=64, pattern=wire.ONE_LINE)]


@router.get("/sessions")
def sessions(gateway: TheGateway, caller: TheUser, user: User = None) -> list[wire.SessionView]:
    """The caller's live logins, newest first; an admin may ask for any user's."""
    return gateway.sessions.mine(caller, user, caller.session.id)


@router.delete("/sessions")
def end_all(gateway: TheGateway, caller: TheUser, *, others: bool = False) -> wire.SessionsEnded:
    """End all logins of the caller's; with ``others`` all but the one that signs this."""
    return gateway.sessions.end_all(caller, others=others)


@router.delete("/sessions/{session}", status_code=status.HTTP_204_NO_CONTENT)
def end(gateway: TheGateway, caller: TheUser, session: SessionId) -> Response:
    """End one login at once; an admin may end any user's."""
    gateway.sessions.end(caller, session)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
