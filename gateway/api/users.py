"""Users, as administrators see them, and groups over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from gateway import wire
from gateway.api.signed import TheGateway, TheUser

router = APIRouter(prefix="/api/v1", tags=["users"])

Name = Annotated[str, Path(max_length=64, pattern=wire.ONE_LINE)]


@router.post("/invitations", status_code=status.HTTP_201_CREATED)
def invite(gateway: TheGateway, caller: TheUser, request: wire.InvitationRequest) -> wire.InvitationView:
    """A one-time code with which one person becomes a user; for administrators."""
    return gateway.registration.invite(caller, request)


@router.get("/users")
def users(gateway: TheGateway, caller: TheUser) -> list[wire.UserView]:
    """Every user, by name; for administrators."""
    return gateway.users.all(caller)


@router.post("/users/{user}/role")
def set_role(gateway: TheGateway, caller: TheUser, user: Name, request: wire.RoleRequest) -> wire.UserView:
    """Make a user an administrator, or one no more; for administrators."""
    return gateway.users.set_role(caller, user, request)


@router.post("/users/{user}/disable")
def disable(gateway: TheGateway, caller: TheUser, user: Name) -> wire.UserView:
    """Shut a user out and end their logins; for administrators."""
    return gateway.users.disable(caller, user)


@router.post("/users/{user}/enable")
def enable(gateway: TheGateway, caller: TheUser, user: Name) -> wire.UserView:
    """Let a user in again; for administrators."""
    return gateway.users.enable(caller, user)


@router.post("/users/{user}/reset")
def reset(gateway: TheGateway, caller: TheUser, user: Name, request: wire.ResetRequest) -> wire.ResetView:
    """Remove a lost second factor, or also give a code for a new password; for administrators."""
    return gateway.users.reset(caller, user, request)


@router.get("/groups")
def groups(gateway: TheGateway, caller: TheUser) -> list[wire.GroupView]:
    """The caller's groups; an administrator sees all."""
    return gateway.groups.all(caller)


@router.post("/groups", status_code=status.HTTP_201_CREATED)
def create_group(gateway: TheGateway, caller: TheUser, request: wire.GroupRequest) -> wire.GroupView:
    """A new group or project; for administrators."""
    return gateway.groups.create(caller, request)


@router.get("/groups/{group}")
def group(gateway: TheGateway, caller: TheUser, group: Name) -> wire.GroupView:
    """One group, for its members and administrators."""
    return gateway.groups.get(caller, group)


@router.post("/groups/{group}/members")
def put_member(gateway: TheGateway, caller: TheUser, group: Name, request: wire.MemberRequest) -> wire.GroupView:
    """Let a user in, or change what they are to the group; for its leaders and administrators."""
    return gateway.groups.put_member(caller, group, request)


@router.delete("/groups/{group}/members/{user}", status_code=status.HTTP_204_NO_CONTENT)
def remove_member(gateway: TheGateway, caller: TheUser, group: Name, user: Name) -> Response:
    """End a user's place in it; for its leaders, administrators and the user."""
    gateway.groups.remove_member(caller, group, user)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
