"""Slurm's REST API (v0.0.42) as slurmrestd serves it: same paths, fields, headers, errors.

Invariant: looking takes a token or a signature; whatever changes anything takes a signature, and a token is refused.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response, status
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from gateway import errors, wire
from gateway.api import problems
from gateway.api.signed import TheGateway, TheUser, received
from gateway.engines.relay import Relayed
from gateway.identity.authenticate import Reader as Looking
from gateway.identity.authenticate import Request as SignedRequest
from gateway.service.slurm_accounting import Wanted

SLURM, SLURMDB = "/slurm/v0.0.42", "/slurmdb/v0.0.42"
_UNKNOWN = "Unable find requested URL. Please view /openapi/v3 for API reference."
_FAILURE = "Authentication failure"
_BAD_TOKEN, _DENIED, _NO_JOB, _PARSE, _AWAY = 1007, 2002, 2017, 9000, 1800
"""Numbers of slurm_errno.h, and slurmrestd's own for what it cannot parse."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _SlurmRoute(APIRoute):
    """Answers the gateway's errors in slurmrestd's form."""

    def get_route_handler(self) -> Handler:
        """The endpoint, its errors caught."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except errors.BurstError as error:
                await problems.tell_refused(request, error)
                return _refusal(error, request)
            except RequestValidationError:
                return _error(HTTPStatus.UNPROCESSABLE_ENTITY, _PARSE, "Rejecting request. Failure parsing parameters")

        return handle


router = APIRouter(include_in_schema=False, route_class=_SlurmRoute)
native = APIRouter(prefix="/api/v1", tags=["slurm"])


@native.post("/slurm-tokens", status_code=status.HTTP_201_CREATED)
def slurm_token(gateway: TheGateway, caller: TheUser, request: wire.SlurmTokenRequest) -> wire.SlurmToken:
    """A token for clients of Slurm's REST API, good for looking only, as `scontrol token` gives it."""
    return gateway.people.slurm_token(caller, request.lifespan_s)


@native.post("/jobs/{job}/requeue")
def requeue(gateway: TheGateway, caller: TheUser, job: str) -> wire.Nothing:
    """Put a running job back into the queue, as `scontrol requeue` does; slurmrestd has no call for it."""
    gateway.slurm.requeue(caller, job)
    return wire.Nothing()


@native.get("/shared-files")
def shared_files(gateway: TheGateway, caller: TheUser) -> wire.SharedFiles:
    """Whether nodes see the files of this machine, and how a client proves that it does."""
    return gateway.shared_files.view(caller)


def reader(
    gateway: TheGateway,
    request: Annotated[SignedRequest, Depends(received)],
    x_slurm_user_name: Annotated[str | None, Header()] = None,
    x_slurm_user_token: Annotated[str | None, Header()] = None,
) -> Looking:
    """Who looks: by signature, by X-SLURM-USER-TOKEN, or by the same token as a bearer's."""
    scheme, _, rest = (request.authorization or "").partition(" ")
    if scheme.lower() == "burst":
        return gateway.people.user(request)
    bearer = rest.strip() if hmac.compare_digest(scheme.lower().encode(), b"bearer") else ""
    if bool(bearer) == bool(x_slurm_user_token):
        # None at all, or both: slurmrestd takes exactly one.
        raise errors.NotAllowed(_FAILURE)
    return gateway.people.reader(bearer or x_slurm_user_token or "", x_slurm_user_name)


Reader = Annotated[Looking, Depends(reader)]


def _query(request: Request) -> str:
    return request.scope["query_string"].decode("latin-1")  # type: ignore[no-any-return]


@router.get(f"{SLURM}/jobs")
@router.get(f"{SLURM}/jobs/")
def jobs(gateway: TheGateway, user: Reader, request: Request) -> Response:
    """The user's jobs."""
    return _pass(gateway.slurm.jobs(user, _query(request)))


@router.get(f"{SLURM}/jobs/state")
@router.get(f"{SLURM}/jobs/state/")
def states(gateway: TheGateway, user: Reader, request: Request) -> Response:
    """States of the user's jobs."""
    return _pass(gateway.slurm.states(user, _query(request)))


@router.get(f"{SLURM}/job/{{job}}")
def job(gateway: TheGateway, user: Reader, job: str) -> Response:
    """One job of the user's."""
    return _pass(gateway.slurm.job(user, job))


@router.get(f"{SLURM}/{{kind}}")
@router.get(f"{SLURM}/{{kind}}/")
def look(gateway: TheGateway, user: Reader, kind: str, request: Request) -> Response:
    """Nodes, partitions, ping."""
    if kind not in {"nodes", "partitions", "ping"}:
        return _unknown()
    answer = _pass(gateway.slurm.look(user, f"/{kind}", _query(request)))
    if kind == "partitions":
        # slurmrestd does not tell which one is the default; sinfo marks it.
        answer.headers["X-Burst-Default-Partition"] = gateway.slurm.default_partition
    return answer


@router.get(f"{SLURM}/node/{{name}}")
def node(gateway: TheGateway, user: Reader, name: str) -> Response:
    """One node."""
    return _pass(gateway.slurm.look(user, f"/node/{_segment(name)}", ""))


@router.get(f"{SLURM}/partition/{{name}}")
def partition(gateway: TheGateway, user: Reader, name: str) -> Response:
    """One partition."""
    answer = _pass(gateway.slurm.look(user, f"/partition/{_segment(name)}", ""))
    answer.headers["X-Burst-Default-Partition"] = gateway.slurm.default_partition
    return answer


@router.delete(f"{SLURM}/job/{{job}}")
def end(gateway: TheGateway, caller: TheUser, job: str, request: Request) -> Response:
    """End a job of the caller's, or send it a signal; signed."""
    return _pass(gateway.slurm.end(caller, job, _query(request)))


@router.post(f"{SLURM}/job/submit")
def submit(caller: TheUser) -> Response:  # noqa: ARG001
    """Not by this way: a job is submitted as a script with its options, which is what is signed and priced."""
    words = "Jobs are submitted by POST /api/v1/jobs: sbatch, burst submit and gateway.client do it"
    return _error(HTTPStatus.NOT_IMPLEMENTED, _DENIED, words)


@router.post(f"{SLURM}/job/{{job}}")
async def change(gateway: TheGateway, caller: TheUser, job: str, request: Request) -> Response:
    """Hold or release a job of the caller's; signed."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise errors.InvalidRequest("Unable to parse the body as JSON")
    return _pass(gateway.slurm.hold(caller, job, body))


@router.get(f"{SLURMDB}/jobs")
@router.get(f"{SLURMDB}/jobs/")
def recorded(  # noqa: PLR0917 - slurmdbd's own parameters
    gateway: TheGateway,
    user: Reader,
    step: str = "",
    users: str = "",
    job_name: str = "",
    start_time: Annotated[int | None, "Unix seconds"] = None,
    end_time: Annotated[int | None, "Unix seconds"] = None,
) -> Response:
    """The user's jobs as the gateway has recorded them, in slurmdbd's form."""
    ids = frozenset(part.partition(".")[0] for part in step.split(",") if part)
    if any(not part.replace("_", "", 1).isdecimal() for part in ids):
        raise errors.InvalidRequest("Rejecting request. Failure parsing parameters")
    wanted = Wanted(
        ids=ids,
        users=frozenset(filter(None, users.split(","))),
        names=frozenset(filter(None, job_name.split(","))),
        since=None if start_time is None else datetime.fromtimestamp(start_time, UTC),
        until=None if end_time is None else datetime.fromtimestamp(end_time, UTC),
    )
    return _json({"jobs": gateway.accounting.jobs(user, wanted), "meta": {}, "errors": [], "warnings": []})


@router.get(f"{SLURMDB}/job/{{job}}")
def recorded_one(gateway: TheGateway, user: Reader, job: str) -> Response:
    """One of them; unlike slurmctld, slurmdbd answers an unknown one with an empty list."""
    return recorded(gateway, user, step=job)


@router.api_route("/slurm/{rest:path}", methods=["GET", "POST", "PUT", "DELETE"])
@router.api_route("/slurmdb/{rest:path}", methods=["GET", "POST", "PUT", "DELETE"])
def elsewhere(rest: str) -> Response:  # noqa: ARG001
    """No such path or version."""
    return _unknown()


def install(app: FastAPI) -> None:
    """Serve both."""
    app.include_router(native)
    app.include_router(router)


def _pass(answer: Relayed) -> Response:
    return Response(answer.body, answer.status, headers={"Content-Type": answer.media_type})


def _json(document: dict[str, Any], code: int = 200) -> Response:
    # Not JSONResponse's media type by chance: slurmrestd sends no charset, and some clients compare the whole.
    return Response(json.dumps(document, indent=2), code, headers={"Content-Type": "application/json"})


def _unknown() -> Response:
    return Response(_UNKNOWN, HTTPStatus.NOT_FOUND, headers={"Content-Type": "text/plain"})


def _error(code: int, number: int, words: str, description: str = "") -> Response:
    error = {"description": description or words, "error_number": number, "error": words, "source": "burst"}
    return _json({"errors": [error], "warnings": []}, code)


def _refusal(error: errors.BurstError, request: Request) -> Response:
    words = f"{error.detail} {error.hint or ''}".strip()
    match error:
        case errors.BadSignature() | errors.SignatureExpired() | errors.SignatureReplayed():
            return _not_believed(request, words)
        case errors.NotAllowed():
            return _not_allowed(error, words)
        case errors.NotFound():
            return _error(HTTPStatus.NOT_FOUND, _NO_JOB, "Invalid job id specified", words)
        case errors.InvalidRequest():
            return _error(HTTPStatus.UNPROCESSABLE_ENTITY, _PARSE, error.detail)
        case errors.SchedulerUnavailable():
            away = "Unable to contact slurm controller (connect failure)"
            return _error(HTTPStatus.BAD_GATEWAY, _AWAY, away, words)
        case errors.SchedulerRefused():
            status_code = HTTPStatus.NOT_FOUND if error.errno == _NO_JOB else HTTPStatus.INTERNAL_SERVER_ERROR
            return _error(status_code, error.errno or _DENIED, error.detail)
    raise error


def _not_allowed(error: errors.NotAllowed, words: str) -> Response:
    if isinstance(error, errors.Refused):
        return _error(HTTPStatus.FORBIDDEN, _DENIED, "Access/permission denied", words)
    return Response(_FAILURE, HTTPStatus.UNAUTHORIZED, headers={"Content-Type": "text/plain"})


def _not_believed(request: Request, words: str) -> Response:
    """A wrong proof. A token is right for looking; what changes anything is asked for with a signature."""
    token = "x-slurm-user-token" in request.headers or request.headers.get("authorization", "").startswith("Bearer ")
    if request.method != "GET" and token:
        words = "A token is for looking; what changes anything is signed: use sbatch, scancel or scontrol"
        return _error(HTTPStatus.FORBIDDEN, _DENIED, "Access/permission denied", words)
    if token:
        code = HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED
        return _error(code, _BAD_TOKEN, "Protocol authentication error", words)
    return Response(_FAILURE, HTTPStatus.UNAUTHORIZED, headers={"Content-Type": "text/plain"})


def _segment(name: str) -> str:
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise errors.InvalidRequest("Rejecting request. Failure parsing parameters")
    return name
