"""Nodes and what can be had, as a page that follows them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.identity.authenticate import Reader
from gateway.service.gateway import Gateway
from gateway.web.pages import if_changed, page, part
from gateway.web.visits import TheGateway, TheVisit

router = APIRouter()

_EVERY_S = 2


@router.get("/nodes")
def nodes(gateway: TheGateway, visit: TheVisit, request: Request) -> Response:
    """Every node that has a machine, or is about to."""
    return page(request, "nodes.html", visit, nodes_list=_list(gateway, visit.reader))


@router.get("/nodes/list")
def nodes_list(gateway: TheGateway, visit: TheVisit, since: str = "") -> Response:
    """The same, if it changed."""
    return if_changed(_list(gateway, visit.reader), since)


def _list(gateway: Gateway, reader: Reader) -> str:
    nodes, offers = gateway.fleet.views(reader), gateway.offers.all(reader)
    return part("nodes_list.html", "/web/nodes/list", _EVERY_S, nodes=nodes, offers=offers)
