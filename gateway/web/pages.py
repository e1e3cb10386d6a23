"""Pages: templates filled in, whole ones and the parts of them that change while one looks.

Invariant: a template escapes everything; a part is sent again only when it differs from what the browser has.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.identity.browsers import form_token
from gateway.service.browsers import Visit
from gateway.service.gateway import Gateway
from gateway.web import figures
from gateway.web.visits import COOKIE

_HERE = Path(__file__).parent


def page(
    request: Request, template: str, visit: Visit | None = None, *, status: int = HTTPStatus.OK, **facts: Any
) -> HTMLResponse:
    """A whole page; ``visit`` is who looks at it."""
    gateway: Gateway = request.app.state.gateway
    cookie = request.cookies.get(COOKIE)
    frame = {
        "here": request.url.path,
        "visit": visit,
        "audience": gateway.people.audience,
        "token": form_token(cookie) if cookie else "",
        "asset": _asset,
    }
    return HTMLResponse(_templates().get_template(template).render({**frame, **facts}), status_code=status)


def part(template: str, url: str, every_s: int | None, **facts: Any) -> str:
    """A part of a page that asks ``url`` every so many seconds whether it has changed; None: it will not change."""
    inner = _templates().get_template(template).render(facts)
    digest = hashlib.sha256(inner.encode()).hexdigest()[:16]
    frame = {"inner": inner, "url": url, "every_s": every_s, "digest": digest, "name": template.partition(".")[0]}
    return _templates().get_template("part.html").render(frame)


def if_changed(part_text: str, since: str) -> Response:
    """The part, or 204 when the browser has it already."""
    if since and f'data-digest="{since}"' in part_text.partition(">")[0]:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return HTMLResponse(part_text)


@lru_cache(maxsize=1)
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figures.FILTERS)
    environment.globals["between"] = figures.between
    return environment


@lru_cache(maxsize=32)
def _asset(name: str) -> str:
    """The URL of a static file, with its digest, so that a new one is not taken for the one in the cache."""
    digest = hashlib.sha256((_HERE / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/web/static/{name}?v={digest}"
