"""The web pages as an app of their own, mounted at /web beside the HTTP API.

Invariant: its cookie is for /web alone, so the API never sees it; every answer carries the security headers.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from gateway.service.gateway import Gateway
from gateway.web import (
    account,
    devices,
    factors,
    institutions,
    jobs,
    money,
    nodes,
    passkeys,
    refusals,
    sessions,
    shared,
    sign_in,
)
from gateway.web.headers import SecurityHeaders

ROOT = "/web"
STATIC = Path(__file__).parent / "static"


def add_web(app: FastAPI, gateway: Gateway) -> None:
    """Mount the pages on ``app``; its front page leads to them."""
    app.mount(ROOT, create_web(gateway))
    app.get("/", include_in_schema=False)(_front)
    app.include_router(shared.public)


def create_web(gateway: Gateway) -> FastAPI:
    """The pages in front of ``gateway``."""
    web = FastAPI(title="Burst Gateway", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    web.state.gateway = gateway
    web.add_middleware(SecurityHeaders, https=gateway.people.site_url.startswith("https:"))
    refusals.install(web)
    people = (sign_in, passkeys, institutions, account, factors, devices, sessions)
    for door in (*people, jobs, shared, nodes, money):
        web.include_router(door.router)
    web.get("/")(_front)
    web.mount("/static", StaticFiles(directory=STATIC), name="static")
    return web


def _front() -> Response:
    return RedirectResponse(f"{ROOT}/jobs", 303)
