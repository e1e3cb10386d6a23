"""Shares over HTTP: access rules about a job's outputs, and links to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status

from gateway import wire
from gateway.api.signed import Address, TheGateway, TheUser

router = APIRouter(prefix="/api/v1", tags=["sharing"])
links = APIRouter(prefix="/api/v1", tags=["public"])

LinkId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
OutputPath = Annotated[str, Query(max_length=1024, pattern=wire.NO_NUL)]


@router.get("/jobs/{job}/shares")
def rules(gateway: TheGateway, caller: TheUser, job: str) -> list[wire.ShareView]:
    """The access rules about a job's outputs; only for who owns them."""
    return gateway.sharing.rules(caller, job)


@router.post("/jobs/{job}/shares")
def share(gateway: TheGateway, caller: TheUser, job: str, request: wire.ShareRequest) -> wire.ShareView:
    """Set a rule; it replaces the one about the same path and subject."""
    return gateway.sharing.grant(caller, job, request)


@router.delete("/jobs/{job}/shares/{subject}", status_code=status.HTTP_204_NO_CONTENT)
def unshare(
    gateway: TheGateway,
    caller: TheUser,
    job: str,
    subject: Annotated[str, Path(max_length=80, pattern=wire.ONE_LINE)],
    path: OutputPath = "",
) -> Response:
    """Take a rule away: from the next request on it counts no more."""
    gateway.sharing.revoke(caller, job, path, subject)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get("/shares")
def given(gateway: TheGateway, caller: TheUser) -> list[wire.ShareView]:
    """What others share with the caller, newest first."""
    return gateway.sharing.given(caller)


@router.post("/jobs/{job}/links", status_code=status.HTTP_201_CREATED)
def add_link(gateway: TheGateway, caller: TheUser, job: str, request: wire.LinkRequest) -> wire.NewLink:
    """A link to a file or folder; its secret is told this once."""
    return gateway.links.add(caller, job, request)


@router.get("/links")
def my_links(gateway: TheGateway, caller: TheUser) -> list[wire.LinkView]:
    """The links that the caller made, newest first; an admin sees everybody's."""
    return gateway.links.mine(caller)


@router.delete("/links/{link}", status_code=status.HTTP_204_NO_CONTENT)
def revoke_link(gateway: TheGateway, caller: TheUser, link: LinkId) -> Response:
    """End a link of the caller's."""
    gateway.links.revoke(caller, link)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@links.post("/shared/{link}")
def open_link(gateway: TheGateway, link: LinkId, request: wire.OpenRequest, address: Address) -> wire.LinkedFiles:
    """What a link opens, for its secret, which is never part of a URL that is sent."""
    return gateway.links.open(link, request, address)
