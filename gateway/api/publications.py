"""Publications over HTTP: DOIs for outputs, grants, public landing pages, and bytes for those who may have them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response, status
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from gateway import wire
from gateway.api.signed import TheGateway, TheUser, received, user_of
from gateway.identity.authenticate import Caller
from gateway.identity.authenticate import Request as SignedRequest
from gateway.publishing import landing

router = APIRouter(prefix="/api/v1", tags=["publications"])
pages = APIRouter(prefix="/doi", tags=["public"])

Publication = Annotated[str, Path(max_length=64, pattern=wire.ONE_LINE)]
Prefix = Annotated[str, Path(max_length=16, pattern=r"^10\.[0-9]{4,5}$")]

_LD_JSON = frozenset({"application/ld+json", "application/vnd.schemaorg.ld+json"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


def anyone(gateway: TheGateway, request: Annotated[SignedRequest, Depends(received)], raw: Request) -> Caller | None:
    """The user who signed; None when nobody did."""
    return None if request.authorization is None else user_of(gateway, request, raw)


Anyone = Annotated[Caller | None, Depends(anyone)]


@router.post("/jobs/{job}/publication", status_code=status.HTTP_201_CREATED)
def publish(gateway: TheGateway, caller: TheUser, job: str, request: wire.PublishRequest) -> wire.PublicationView:
    """Freeze a job's outputs and make their DOI findable. The same request again answers with the same DOI."""
    return gateway.publications.publish(caller, job, request)


@router.get("/publications")
def publications(gateway: TheGateway, caller: TheUser) -> list[wire.PublicationView]:
    """The caller's publications, newest first; an admin sees everybody's."""
    return gateway.publications.mine(caller)


@router.post("/publications/{publication}/grants")
def grant(
    gateway: TheGateway, caller: TheUser, publication: Publication, request: wire.GrantRequest
) -> wire.PublicationView:
    """Let a user read a publication's files."""
    return gateway.publications.grant(caller, publication, request)


@router.delete("/publications/{publication}/grants/{user}", status_code=status.HTTP_204_NO_CONTENT)
def revoke(gateway: TheGateway, caller: TheUser, publication: Publication, user: Publication) -> Response:
    """Take a grant back."""
    gateway.publications.revoke(caller, publication, user)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get("/publications/{publication}/files")
def files(gateway: TheGateway, caller: TheUser, publication: Publication) -> wire.PublishedFiles:
    """The files of a publication, each with its digest and a URL to GET it from."""
    return gateway.publications.files(caller, publication)


@pages.get("/{prefix}/{suffix}", response_class=HTMLResponse)
def page(gateway: TheGateway, prefix: Prefix, suffix: str, accept: Annotated[str, Header()] = "") -> Response:
    """The landing page of a DOI; schema.org JSON-LD when that is asked for."""
    made, url = gateway.publications.public(f"{prefix}/{suffix}")
    if _LD_JSON & {kind.partition(";")[0].strip() for kind in accept.split(",")}:
        return JSONResponse(landing.json_ld(made, url), media_type="application/ld+json", headers=_HEADERS)
    return HTMLResponse(landing.html(made, url), headers=_HEADERS)


@pages.get("/{prefix}/{suffix}/manifest.json")
def manifest(gateway: TheGateway, prefix: Prefix, suffix: str) -> dict[str, Any]:
    """Every file of a publication with its size and SHA-256; no bytes."""
    return landing.manifest(gateway.publications.public(f"{prefix}/{suffix}")[0])


@pages.get("/{prefix}/{suffix}/files/{path:path}", status_code=status.HTTP_302_FOUND, response_class=RedirectResponse)
def file(gateway: TheGateway, caller: Anyone, prefix: Prefix, suffix: str, path: str) -> RedirectResponse:
    """One file: a redirect to the store for those who may have it, and how to ask for the others."""
    url = gateway.publications.file(caller, f"{prefix}/{suffix}", path)
    return RedirectResponse(url, status_code=status.HTTP_302_FOUND, headers={"Cache-Control": "no-store"})
