"""Nodes and offers over HTTP, for people and for the nodes themselves."""

from __future__ import annotations

from fastapi import APIRouter

from gateway import wire
from gateway.api.signed import Address, AsReceived, TheGateway, TheJob, TheNode, TheUser

router = APIRouter(prefix="/api/v1", tags=["nodes"])


@router.get("/nodes")
def nodes(gateway: TheGateway, caller: TheUser) -> list[wire.NodeView]:
    """Every node that has, or is about to have, a machine."""
    return gateway.fleet.views(caller)


@router.get("/offers")
def offers(gateway: TheGateway, caller: TheUser) -> list[wire.OfferView]:
    """What can be had, and for how much."""
    return gateway.offers.all(caller)


@router.post("/nodes/join", tags=["machines"])
def join(gateway: TheGateway, signed: AsReceived, body: wire.JoinRequest, address: Address) -> wire.JoinReply:
    """A new machine trades its one-time token, under the key that it made, for what it needs to be a node."""
    return gateway.joining.join(body, signed, address)


@router.post("/nodes/{name}/ssh")
def ssh(
    gateway: TheGateway, caller: TheUser, name: str, body: wire.NodeLoginRequest, address: Address
) -> wire.NodeLogin:
    """A certificate to log in to a node with, for administrators and for who has a job running there now."""
    return gateway.node_logins.certify(caller, name, body, address)


@router.post("/nodes/self/lease", tags=["machines"])
def lease(gateway: TheGateway, node: TheNode) -> wire.LeaseReply:
    """A node renews its lease."""
    return gateway.nodes.lease(node)


@router.post("/nodes/self/prolog", tags=["machines"])
def prolog(gateway: TheGateway, node: TheNode, body: wire.PrologRequest) -> wire.PrologReply:
    """A node asks what to do before a job starts on it."""
    return gateway.nodes.prolog(node, body)


@router.post("/nodes/self/prolog-failed", tags=["machines"])
def prolog_failed(gateway: TheGateway, node: TheNode, body: wire.PrologFailedRequest) -> wire.Nothing:
    """A node could not prepare a job."""
    gateway.nodes.prolog_failed(node, body)
    return wire.Nothing()


@router.post("/nodes/self/epilog", tags=["machines"])
def epilog(gateway: TheGateway, node: TheNode, body: wire.EpilogRequest) -> wire.Nothing:
    """A node has staged out its part of a job."""
    gateway.nodes.epilog(node, body)
    return wire.Nothing()


@router.post("/jobs/self/presign", tags=["machines"])
def presign(gateway: TheGateway, job: TheJob, body: wire.PresignRequest) -> wire.PresignReply:
    """A running job asks, under its own credential, where to put its outputs."""
    return gateway.nodes.presign(job, body)
