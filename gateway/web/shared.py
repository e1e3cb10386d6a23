"""Shared: what others share with one's login, and the landing page of a link, which needs none.

Invariant: the secret of a link is in the part of its URL that browsers do not send; the landing page is the same for
every link, and its script sends the secret in the body of a POST.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response

from gateway import wire
from gateway.errors import NotFound
from gateway.identity.authenticate import Reader
from gateway.service.gateway import Gateway
from gateway.service.links import PAGE_PATH
from gateway.web.headers import HEADERS
from gateway.web.pages import page
from gateway.web.visits import TheGateway, TheVisit

router = APIRouter()
public = APIRouter(tags=["public"])


@router.get("/shared")
def shared(gateway: TheGateway, visit: TheVisit, request: Request) -> Response:
    """What others share with who looks, and the links that they made themselves."""
    rules = gateway.sharing.given(visit.reader)
    jobs = {rule.burst_id: rule for rule in rules}
    found = [(rule, _files(gateway, visit.reader, rule)) for rule in jobs.values()]
    return page(request, "shared.html", visit, found=found, links=gateway.links.mine(visit.reader), file_url=_file_url)


@public.get(f"{PAGE_PATH}/{{link}}", include_in_schema=False)
def landing(request: Request, link: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]) -> Response:
    """Where a link leads to; whether there is one of that name is not told here."""
    answer = page(request, "link.html", link=link)
    answer.headers.update(HEADERS | {"Cache-Control": "no-store"})
    return answer


def _files(gateway: Gateway, reader: Reader, rule: wire.ShareView) -> tuple[wire.OutputFile, ...]:
    try:
        return gateway.jobs.outputs(reader, rule.burst_id).files
    except NotFound:
        return ()


def _file_url(rule: wire.ShareView, file: wire.OutputFile) -> str:
    task = "" if file.task is None else f"&task={file.task}"
    return f"/web/jobs/{rule.burst_id}/file?path={quote(file.path, safe='')}{task}"
