"""Trust between gateways over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response, status

from gateway import wire
from gateway.api.signed import Address, TheGateway, TheUser, received
from gateway.identity.authenticate import Request

ABOUT_PATH = "/.well-known/burst-gateway"

about = APIRouter(tags=["public"])
router = APIRouter(prefix="/api/v1", tags=["federation"])

Name = Annotated[str, Path(max_length=31, pattern=r"^[a-z][a-z0-9-]*$")]


@about.get(ABOUT_PATH)
def who_this_is(gateway: TheGateway) -> wire.About:
    """This gateway's URL and its name in signatures, for who is to trust it."""
    return wire.About(issuer=gateway.people.issuer, audience=gateway.people.audience)


@router.get("/peers")
def peers(gateway: TheGateway, caller: TheUser) -> list[wire.PeerView]:
    """The gateways that this one trusts."""
    return gateway.federation.peers(caller)


@router.post("/peers")
def trust(gateway: TheGateway, caller: TheUser, request: wire.PeerRequest) -> wire.PeerView:
    """Trust a gateway, or change for which projects (administrators)."""
    return gateway.federation.trust(caller, request)


@router.delete("/peers/{name}", status_code=status.HTTP_204_NO_CONTENT)
def distrust(gateway: TheGateway, caller: TheUser, name: Name) -> Response:
    """Trust a gateway no more; its users' sessions here end (administrators)."""
    gateway.federation.distrust(caller, name)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.post("/visas", status_code=status.HTTP_201_CREATED)
def visa(gateway: TheGateway, caller: TheUser, request: wire.VisaRequest) -> wire.Visa:
    """A statement for a trusted gateway about whose key this is; good for five minutes."""
    return gateway.federation.visa(caller, request)


@router.post("/visits", status_code=status.HTTP_201_CREATED)
def visit(
    gateway: TheGateway, request: wire.VisitRequest, signed: Annotated[Request, Depends(received)], address: Address
) -> wire.Session:
    """A session for a user of a trusted gateway; the request is signed by the visa's key."""
    return gateway.federation.visit(signed, request.visa, address)
