"""A site's own users over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, status

from gateway import wire
from gateway.api.signed import TheGateway, TheUser

router = APIRouter(prefix="/api/v1/site", tags=["site"])


@router.post("/claims", status_code=status.HTTP_201_CREATED)
def claim(gateway: TheGateway, caller: TheUser, request: wire.ClaimRequest) -> wire.ClaimView:
    """Say which of the site's users one is; a job submitted as that user is the other half."""
    return gateway.site_claims.begin(caller, request)
