"""The audit log over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from gateway import wire
from gateway.api.signed import TheGateway, TheUser
from gateway.identity.audit import Outcome, Question

router = APIRouter(prefix="/api/v1", tags=["audit"])

Name = Annotated[str | None, Query(max_length=64, pattern=wire.ONE_LINE)]


@router.get("/audit")
def audit(  # noqa: PLR0917 - each is a part of the question
    gateway: TheGateway,
    caller: TheUser,
    job: Name = None,
    user: Name = None,
    node: Name = None,
    account: Name = None,
    since: datetime | None = None,
    until: datetime | None = None,
    outcome: Outcome | None = None,
    cursor: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> wire.AuditPage:
    """Who did what, newest first: what concerns the caller, or everything for an admin."""
    question = Question(
        job=job,
        user=user,
        node=node,
        account=account,
        since=since,
        until=until,
        outcome=outcome,
        before=cursor,
        limit=limit,
    )
    return gateway.audit.page(caller, question)


@router.get("/audit/chain")
def chain(
    gateway: TheGateway, caller: TheUser, known: Annotated[str | None, Query(pattern=wire.SHA256)] = None
) -> wire.AuditChain:
    """Follow the chains of the log and of the ledger; ``known`` is a head that an earlier look told. Admins only."""
    return gateway.audit.verify(caller, known)
