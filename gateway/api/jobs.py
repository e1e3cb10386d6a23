"""Jobs over HTTP: uploads, quotes, submission, status, cancel, outputs, receipts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, status
from fastapi.responses import PlainTextResponse

from gateway import wire
from gateway.api.signed import IdempotencyKey, TheGateway, TheUser

router = APIRouter(prefix="/api/v1", tags=["jobs"])


@router.post("/uploads")
def upload(gateway: TheGateway, caller: TheUser, request: wire.UploadRequest) -> wire.Upload:
    """Where to PUT an input; inputs are named by their SHA-256, so equal files travel once."""
    return gateway.jobs.upload(caller, request)


@router.post("/quotes")
def quote(gateway: TheGateway, caller: TheUser, request: wire.SubmitRequest) -> wire.Quote:
    """The most that a job would cost, without submitting it."""
    return gateway.submission.quote(caller, request)


@router.post("/jobs", status_code=status.HTTP_201_CREATED)
def submit(
    gateway: TheGateway, caller: TheUser, request: wire.SubmitRequest, idempotency_key: IdempotencyKey = None
) -> wire.JobView:
    """Submit a job. The same Idempotency-Key again answers with the same job."""
    return gateway.jobs.view(gateway.submission.submit(caller, request, idempotency_key))


@router.get("/jobs")
def jobs(
    gateway: TheGateway,
    caller: TheUser,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    state: Annotated[str | None, Query(pattern=r"^[A-Z_]{1,32}$")] = None,
) -> wire.JobPage:
    """The caller's jobs, newest first; an admin sees everybody's."""
    return gateway.jobs.page(caller, cursor, limit, state)


@router.get("/jobs/{job}")
def job(gateway: TheGateway, caller: TheUser, job: str) -> wire.JobView:
    """One job with its attempts and timeline, by Slurm's id or its own."""
    return gateway.jobs.view(gateway.jobs.find(caller, job), whole=True)


@router.post("/jobs/{job}/cancel")
def cancel(gateway: TheGateway, caller: TheUser, job: str) -> wire.JobView:
    """End a job; it is staged out and settled like any other. Cancelling an ended job changes nothing."""
    return gateway.jobs.view(gateway.jobs.cancel(caller, job), whole=True)


@router.get("/jobs/{job}/outputs")
def outputs(
    gateway: TheGateway,
    caller: TheUser,
    job: str,
    path: Annotated[str, Query(max_length=1024, pattern=wire.NO_NUL)] = "",
) -> wire.Outputs:
    """The files of a job's latest attempts that the caller may have, each with its digest and a URL to GET it from."""
    return gateway.jobs.outputs(caller, job, path)


@router.get("/jobs/{job}/logs", response_class=PlainTextResponse)
def logs(
    gateway: TheGateway, caller: TheUser, job: str, stream: Literal["stdout", "stderr"] = "stdout"
) -> PlainTextResponse:
    """What the job has printed."""
    return PlainTextResponse(gateway.jobs.logs(caller, job, stream))


@router.get("/jobs/{job}/receipt")
def receipt(gateway: TheGateway, caller: TheUser, job: str) -> wire.Receipt:
    """The job's bill, once it is settled."""
    return gateway.jobs.receipt(caller, job)
