"""Jobs: the list, and one job with its journey, why it waits, its files and its receipt; both follow what happens.

Invariant: a page only looks. A job is cancelled by a request to the API that the browser's own key signs.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from gateway import wire
from gateway.identity.authenticate import Reader
from gateway.jobs.stages import Stage
from gateway.service.gateway import Gateway
from gateway.web.journey import journey
from gateway.web.pages import if_changed, page, part
from gateway.web.visits import TheGateway, TheVisit

router = APIRouter()

PAGE = 25
STATES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
_LIST_EVERY_S = 2
_JOB_EVERY_S = 1
_OUTPUT_EVERY_S = 3
_LONGEST_OUTPUT = 8000

Cursor = Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")]
State = Annotated[str | None, Query(pattern=r"^[A-Z_]{0,32}$")]


@router.get("/jobs")
def jobs(
    gateway: TheGateway, visit: TheVisit, request: Request, cursor: Cursor = None, state: State = None
) -> Response:
    """The jobs that one may see, newest first."""
    chosen = state or None
    listed = _list(gateway, visit.reader, cursor, chosen)
    return page(request, "jobs.html", visit, jobs_list=listed, states=STATES, state=chosen)


@router.get("/jobs/list")
def jobs_list(
    gateway: TheGateway, visit: TheVisit, cursor: Cursor = None, state: State = None, since: str = ""
) -> Response:
    """The same, if it changed."""
    return if_changed(_list(gateway, visit.reader, cursor, state or None), since)


@router.get("/jobs/{name}")
def job(gateway: TheGateway, visit: TheVisit, request: Request, name: str) -> Response:
    """One job."""
    view, live = _live(gateway, visit.reader, name)
    output = _output(gateway, visit.reader, view, "stdout")
    return page(request, "job.html", visit, job=view, live=live, output=output)


@router.get("/jobs/{name}/live")
def job_live(gateway: TheGateway, visit: TheVisit, name: str, since: str = "") -> Response:
    """What of it changes, if it changed."""
    return if_changed(_live(gateway, visit.reader, name)[1], since)


@router.get("/jobs/{name}/output")
def job_output(
    gateway: TheGateway,
    visit: TheVisit,
    name: str,
    stream: Literal["stdout", "stderr"] = "stdout",
    since: str = "",
) -> Response:
    """What it has printed, if that is more."""
    view = gateway.jobs.view(gateway.jobs.find(visit.reader, name))
    return if_changed(_output(gateway, visit.reader, view, stream), since)


@router.get("/jobs/{name}/file")
def job_file(gateway: TheGateway, visit: TheVisit, name: str, path: str, task: int | None = None) -> Response:
    """Lead to the store, with a URL made now for this one file."""
    return RedirectResponse(gateway.jobs.download(visit.reader, name, path, task), HTTPStatus.SEE_OTHER)


def _list(gateway: Gateway, reader: Reader, cursor: str | None, state: str | None) -> str:
    found = gateway.jobs.page(reader, cursor, PAGE, state)
    query = urlencode({name: value for name, value in (("cursor", cursor), ("state", state)) if value})
    everybody = any(one.user != reader.user.name for one in found.jobs)
    facts = {"page": found, "state": state, "everybody": everybody, "first": cursor is None}
    return part("jobs_list.html", f"/web/jobs/list?{query}", _LIST_EVERY_S, **facts)


def _live(gateway: Gateway, reader: Reader, name: str) -> tuple[wire.JobView, str]:
    found = gateway.jobs.find(reader, name)
    view = gateway.jobs.view(found, whole=True)
    facts = {
        "job": view,
        "waiting": gateway.waiting.why(reader, found),
        "steps": journey(view),
        "files": _files(gateway, reader, view),
        "receipt": gateway.jobs.receipt(reader, name) if view.stage == Stage.SETTLED else None,
        "file_url": lambda file: _file_url(view, file),
    }
    every = None if view.finished else _JOB_EVERY_S
    return view, part("job_live.html", f"/web/jobs/{view.burst_id}/live", every, **facts)


def _files(gateway: Gateway, reader: Reader, view: wire.JobView) -> tuple[wire.OutputFile, ...]:
    return gateway.jobs.outputs(reader, view.burst_id).files if view.stage in {Stage.STAGED_OUT, Stage.SETTLED} else ()


def _file_url(view: wire.JobView, file: wire.OutputFile) -> str:
    task = "" if file.task is None else f"&task={file.task}"
    return f"/web/jobs/{view.burst_id}/file?path={quote(file.path, safe='')}{task}"


def _output(gateway: Gateway, reader: Reader, view: wire.JobView, stream: str) -> str:
    text = gateway.jobs.logs(reader, view.burst_id, stream)
    every = None if view.finished else _OUTPUT_EVERY_S
    url = f"/web/jobs/{view.burst_id}/output?stream={stream}"
    return part("job_output.html", url, every, text=text[-_LONGEST_OUTPUT:], cut=len(text) > _LONGEST_OUTPUT)
