"""Proofs over HTTP: the gateway's keys with their successions, and a job's receipt with its evidence."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.api.signed import TheGateway, TheUser
from gateway.identity.succession import KEYS_PATH
from gateway.wire.proofs import GatewayKeys, Proof

router = APIRouter()


@router.get(KEYS_PATH, tags=["public"])
def gateway_keys(gateway: TheGateway) -> GatewayKeys:
    """The keys of receipts, certificates and replies, newest first, each announced by the one before it."""
    return gateway.proofs.keys()


@router.get("/api/v1/jobs/{job}/proof", tags=["jobs"])
def proof(gateway: TheGateway, caller: TheUser, job: str) -> Proof:
    """The job's receipt with the request that ordered it and every key, to be verified without this gateway."""
    return gateway.proofs.of(caller, job)
