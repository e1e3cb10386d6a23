"""Becoming a user, and one's own second factors, password and remembered devices, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from gateway import wire
from gateway.api.signed import Address, TheGateway, TheUser

router = APIRouter(prefix="/api/v1", tags=["identity"])

Device = Annotated[str, Path(max_length=64, pattern=wire.ONE_LINE)]
_NOTHING = status.HTTP_204_NO_CONTENT


@router.post("/users", status_code=status.HTTP_201_CREATED)
def register(gateway: TheGateway, request: wire.RegisterRequest, address: Address) -> wire.Registered:
    """Become a user, by an administrator's code or, where registration is open, without; needs no signature."""
    return gateway.registration.register(request, address)


@router.post("/recovery", status_code=_NOTHING)
def recover(gateway: TheGateway, request: wire.RecoverRequest, address: Address) -> Response:
    """Remove a lost second factor for the password and a recovery code; needs no signature."""
    gateway.factors.recover(request, address)
    return Response(status_code=_NOTHING)


@router.get("/factors")
def factors(gateway: TheGateway, caller: TheUser) -> wire.FactorsView:
    """What the caller's logins need."""
    return gateway.factors.view(caller)


@router.post("/totp")
def begin_totp(gateway: TheGateway, caller: TheUser, request: wire.PasswordProof, address: Address) -> wire.TotpSecret:
    """A secret for an authenticator app; it counts once its first code was confirmed."""
    return gateway.factors.begin_totp(caller, request, address)


@router.post("/totp/confirm")
def confirm_totp(
    gateway: TheGateway, caller: TheUser, request: wire.ConfirmRequest, address: Address
) -> wire.RecoveryCodes:
    """Logins need a code from now on; ten recovery codes, shown this once."""
    return gateway.factors.confirm_totp(caller, request, address)


@router.post("/totp/remove", status_code=_NOTHING)
def remove_totp(gateway: TheGateway, caller: TheUser, request: wire.PasswordProof, address: Address) -> Response:
    """Logins need no code from now on."""
    gateway.factors.remove_totp(caller, request, address)
    return Response(status_code=_NOTHING)


@router.post("/totp/recovery-codes")
def new_recovery_codes(
    gateway: TheGateway, caller: TheUser, request: wire.PasswordProof, address: Address
) -> wire.RecoveryCodes:
    """Ten new recovery codes in place of those before."""
    return gateway.factors.new_recovery_codes(caller, request, address)


@router.post("/password", status_code=_NOTHING)
def change_password(gateway: TheGateway, caller: TheUser, request: wire.PasswordRequest, address: Address) -> Response:
    """A new password; every other session of the caller's ends."""
    gateway.factors.change_password(caller, request, address)
    return Response(status_code=_NOTHING)


@router.get("/devices")
def devices(gateway: TheGateway, caller: TheUser) -> list[wire.DeviceView]:
    """The caller's remembered devices, newest first."""
    return gateway.factors.devices(caller)


@router.delete("/devices/{device}", status_code=_NOTHING)
def revoke_device(gateway: TheGateway, caller: TheUser, device: Device, address: Address) -> Response:
    """The device needs a code again."""
    gateway.factors.revoke_device(caller, device, address)
    return Response(status_code=_NOTHING)
