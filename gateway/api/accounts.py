"""Sessions and money over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status

from gateway import wire
from gateway.accounting.report import Dimension
from gateway.api.signed import Address, IdempotencyKey, TheGateway, TheUser

router = APIRouter(prefix="/api/v1", tags=["accounts"])

Account = Annotated[str, Path(max_length=64, pattern=wire.ONE_LINE)]


@router.post("/sessions", status_code=status.HTTP_201_CREATED)
def log_in(gateway: TheGateway, request: wire.LoginRequest, address: Address) -> wire.Session:
    """Certify the client's public key for some hours, for a password."""
    return gateway.people.log_in(request, address)


@router.post("/device", status_code=status.HTTP_201_CREATED)
def begin_device_login(gateway: TheGateway, request: wire.DeviceRequest, address: Address) -> wire.DeviceLogin:
    """Begin a login that its user approves in a browser (RFC 8628, device authorisation)."""
    return gateway.devices.begin(request, address)


@router.post("/device/token")
def device_token(gateway: TheGateway, request: wire.DevicePoll) -> wire.Session:
    """The session of an approved login; until then 400 with one of RFC 8628's codes."""
    return gateway.devices.poll(request)


@router.delete("/sessions/current", status_code=status.HTTP_204_NO_CONTENT)
def log_out(gateway: TheGateway, caller: TheUser) -> Response:
    """End the session that signed this."""
    gateway.people.log_out(caller)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get("/whoami")
def who_am_i(caller: TheUser) -> wire.Identity:
    """Who signed this."""
    return wire.Identity(
        user=caller.user.name,
        role=caller.user.role,
        account=caller.user.account,
        session=caller.session.id,
        expires_at=caller.session.expires_at,
        scopes=tuple(sorted(caller.scopes)),
    )


@router.get("/balance")
def balance(gateway: TheGateway, caller: TheUser) -> list[wire.Balance]:
    """The money of the caller's accounts; an admin sees all."""
    return gateway.money.balances(caller)


@router.post("/accounts/{account}/credits")
def credit(
    gateway: TheGateway,
    caller: TheUser,
    account: Account,
    request: wire.CreditRequest,
    idempotency_key: IdempotencyKey = None,
) -> wire.Balance:
    """Give an account credits. The same Idempotency-Key again gives none."""
    return gateway.money.credit(caller, account, request, idempotency_key)


@router.get("/units")
def units(gateway: TheGateway, caller: TheUser) -> list[wire.UnitView]:
    """The simulation units that a job can be paid in, with their prices and meters."""
    return gateway.money.units(caller)


@router.get("/budgets")
def budgets(gateway: TheGateway, caller: TheUser) -> list[wire.BudgetView]:
    """The budgets of the caller's accounts, and what counts against them; an admin sees all."""
    return gateway.money.budgets(caller)


@router.post("/accounts/{account}/budget")
def set_budget(gateway: TheGateway, caller: TheUser, account: Account, request: wire.BudgetRequest) -> wire.BudgetView:
    """Set an account's budget; one that an administrator set only they may change."""
    return gateway.money.set_budget(caller, account, request)


@router.delete("/accounts/{account}/budget", status_code=status.HTTP_204_NO_CONTENT)
def remove_budget(gateway: TheGateway, caller: TheUser, account: Account) -> Response:
    """Remove an account's budget."""
    gateway.money.remove_budget(caller, account)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get("/report")
def report(
    gateway: TheGateway,
    caller: TheUser,
    by: Annotated[list[Dimension] | None, Query(max_length=3)] = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> wire.Report:
    """Spending of the caller's accounts, grouped; jobs count when they were settled, ``until`` itself not included."""
    return gateway.money.report(caller, by or [], since, until)
