"""The FastAPI app: routers, problem documents, and the few documents that need no signature.

Invariant: nothing here decides; each endpoint is one call of the gateway.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.api import (
    accounts,
    audit,
    credentials,
    federation,
    identity,
    jobs,
    nodes,
    oauth,
    principals,
    problems,
    proofs,
    publications,
    sessions,
    sharing,
    site,
    slurm,
    sts,
    users,
)
from gateway.api.body_limit import BodyLimit
from gateway.api.replies import SignedReplies
from gateway.api.signed import TheGateway
from gateway.errors import NotFound
from gateway.identity import issuer
from gateway.provisioning.seed import SEED_PATH
from gateway.service.gateway import Gateway

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A 4 MB script may be twice as long in JSON; manifests of many files are the longest bodies."""

_CACHED = f"public, max-age={issuer.CACHED_S}"

AGENT_PATH = "/node-agent.py"

public = APIRouter(tags=["public"])


@public.get("/healthz", response_class=PlainTextResponse)
def healthy() -> str:
    """Whether the process answers."""
    return "ok\n"


@public.get("/readyz")
def ready(gateway: TheGateway) -> JSONResponse:
    """Whether database, Slurm and object store answer; 503 with what does not."""
    checks = gateway.checks()
    return JSONResponse(checks, status_code=200 if all(value == "ok" for value in checks.values()) else 503)


@public.get("/metrics", response_class=PlainTextResponse)
def metrics() -> Response:
    """Prometheus metrics of the gateway; no job's or user's name is in them."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@public.get(issuer.CONFIGURATION_PATH)
def openid_configuration(gateway: TheGateway, response: Response) -> dict[str, Any]:
    """OpenID Provider metadata, for those who verify job credentials."""
    response.headers["Cache-Control"] = _CACHED
    return issuer.configuration(gateway.people.issuer)


@public.get(issuer.AUTHORISATION_SERVER_PATH)
def authorisation_server(gateway: TheGateway, response: Response) -> dict[str, Any]:
    """Authorisation server metadata (RFC 8414), for those who narrow, look at or end job credentials."""
    response.headers["Cache-Control"] = _CACHED
    return issuer.authorisation_server(gateway.people.issuer)


@public.get(issuer.JWKS_PATH)
def jwks(gateway: TheGateway, response: Response) -> dict[str, Any]:
    """The gateway's public keys: of job credentials, which others verify, and of receipts and certificates."""
    response.headers["Cache-Control"] = _CACHED
    now = gateway.people.now()
    return {"keys": [*gateway.people.credentials.ring.jwks(now)["keys"], *gateway.people.ring.jwks(now)["keys"]]}


@public.get(AGENT_PATH, response_class=PlainTextResponse)
def node_agent(gateway: TheGateway) -> str:
    """The node agent's text; a node checks it against the digest in its user-data."""
    return gateway.agent


@public.get(SEED_PATH + "{address}/{name}", response_class=PlainTextResponse, include_in_schema=False)
def seed(gateway: TheGateway, address: str, name: str) -> Response:
    """What a virtual machine's cloud-init asks for; its address is a secret that only the machine was told."""
    content = gateway.seed(address, name)
    if content is None:
        raise NotFound("There is no seed here.")
    return PlainTextResponse(content)


def create_app(gateway: Gateway) -> FastAPI:
    """The app in front of ``gateway``."""
    app = FastAPI(title="Burst Gateway", version="1", redirect_slashes=False, responses=problems.RESPONSES)
    app.add_middleware(BodyLimit, most=MAX_BODY_BYTES)
    app.state.gateway = gateway
    problems.install(app)
    # Added last, it is the outermost: what the others refuse is signed too.
    app.add_middleware(SignedReplies, signer=lambda: gateway.people.ring)
    machines = (nodes.router, sts.router, oauth.router, credentials.router)
    logins = (accounts.router, identity.router, users.router, sessions.router, principals.router, site.router)
    others = (federation.about, federation.router, jobs.router, proofs.router, audit.router)
    shared = (publications.router, publications.pages, sharing.router, sharing.links)
    for router in (public, *logins, *others, *machines, *shared):
        app.include_router(router)
    slurm.install(app)
    return app
