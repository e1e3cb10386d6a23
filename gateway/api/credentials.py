"""Credentials of jobs over HTTP: what a job does with its own, and how its owner ends it."""

from __future__ import annotations

from fastapi import APIRouter

from gateway import wire
from gateway.api.signed import TheGateway, TheJob, TheNode, TheUser

router = APIRouter(prefix="/api/v1", tags=["jobs"])


@router.post("/jobs/{job}/revoke-credential")
def revoke_credential(gateway: TheGateway, caller: TheUser, job: str) -> wire.JobView:
    """End every credential that a job has been given so far; the job itself goes on."""
    return gateway.jobs.view(gateway.tokens.revoke_job(caller, job), whole=True)


@router.post("/job/presign", tags=["machines"])
def presign(gateway: TheGateway, job: TheJob, body: wire.ObjectsRequest) -> wire.ObjectsReply:
    """URLs for objects inside the scopes of a job's credential, for stores that give jobs no keys."""
    return gateway.objects.presign(job, body)


@router.post("/nodes/self/presign", tags=["machines"])
def presign_outputs(gateway: TheGateway, node: TheNode, body: wire.StageOutRequest) -> wire.PresignReply:
    """A node asks where to put the outputs of a job whose credential has ended."""
    return gateway.objects.stage_out(node, body)
