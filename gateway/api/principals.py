"""Service principals over HTTP: their logins, and who manages them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from gateway import wire
from gateway.api.signed import Address, TheGateway, TheUser

router = APIRouter(prefix="/api/v1", tags=["accounts"])

Name = Annotated[str, Path(max_length=64, pattern=wire.ONE_LINE)]


@router.post("/principals/login", status_code=status.HTTP_201_CREATED)
def log_in(gateway: TheGateway, request: wire.AssertionRequest, address: Address) -> wire.Session:
    """Certify a principal's session key for some hours, for an assertion by its registered key (RFC 7523)."""
    return gateway.principals.log_in(request, address)


@router.get("/principals")
def principals(gateway: TheGateway, caller: TheUser) -> list[wire.PrincipalView]:
    """The service principals that the caller manages."""
    return gateway.principals.views(caller)


@router.post("/principals", status_code=status.HTTP_201_CREATED)
def add(gateway: TheGateway, caller: TheUser, request: wire.PrincipalRequest) -> wire.PrincipalView:
    """A new principal with its first key; its project's leader may, or an administrator."""
    return gateway.principals.add(caller, request)


@router.delete("/principals/{name}", status_code=status.HTTP_204_NO_CONTENT)
def remove(gateway: TheGateway, caller: TheUser, name: Name) -> Response:
    """End a principal, its keys and its sessions."""
    gateway.principals.remove(caller, name)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.post("/principals/{name}/keys", status_code=status.HTTP_201_CREATED)
def add_key(gateway: TheGateway, caller: TheUser, name: Name, request: wire.PrincipalKeyRequest) -> wire.PrincipalView:
    """A further key; log in with it, then remove the old one."""
    return gateway.principals.add_key(caller, name, request)


@router.delete("/principals/{name}/keys/{key}", status_code=status.HTTP_204_NO_CONTENT)
def remove_key(gateway: TheGateway, caller: TheUser, name: Name, key: Name) -> Response:
    """End a key for ever, and the sessions that it began."""
    gateway.principals.remove_key(caller, name, key)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
