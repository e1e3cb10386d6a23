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


@router.post("/nodes")
def create(gateway: TheGateway, caller: TheUser, body: wire.NodeCreateRequest) -> list[wire.NodeView]:
    """Have machines made before a job needs them (administrators)."""
    return gateway.node_admin.create(caller, body)


@router.get("/nodes/{name}")
def node(gateway: TheGateway, caller: TheUser, name: str) -> wire.NodeView:
    """One node, with or without a machine."""
    return gateway.fleet.view(caller, name)


@router.get("/nodes/{name}/console")
def console(gateway: TheGateway, caller: TheUser, name: str) -> wire.ConsoleView:
    """The end of a machine's console (administrators)."""
    return gateway.node_admin.console(caller, name)


@router.post("/nodes/{name}/drain")
def drain(gateway: TheGateway, caller: TheUser, name: str, body: wire.NodeDrainRequest) -> wire.NodeView:
    """Let no more jobs start on a node (administrators)."""
    return gateway.node_admin.drain(caller, name, body)


@router.post("/nodes/{name}/resume")
def resume(gateway: TheGateway, caller: TheUser, name: str) -> wire.NodeView:
    """Take a drain back (administrators)."""
    return gateway.node_admin.resume(caller, name)


@router.post("/nodes/{name}/destroy")
def destroy(gateway: TheGateway, caller: TheUser, name: str, body: wire.NodeDestroyRequest) -> wire.NodeView:
    """End a node's machine (administrators)."""
    return gateway.node_admin.destroy(caller, name, body)


@router.get("/reconciliation")
def reconciliation(gateway: TheGateway, caller: TheUser) -> wire.ReconciliationView:
    """What the gateway would do next with each node and machine; nothing is done (administrators)."""
    return gateway.reconciliation.outlook(caller)


@router.get("/offers")
def offers(gateway: TheGateway, caller: TheUser) -> list[wire.OfferView]:
    """What can be had, and for how much."""
    return gateway.fleet.offers(caller)


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
def lease(gateway: TheGateway, node: TheNode, body: wire.LeaseRequest) -> wire.LeaseReply:
    """A node renews its lease, and says what it has."""
    return gateway.leases.renew(node, body)


@router.post("/nodes/self/preempted", tags=["machines"])
def preempted(gateway: TheGateway, node: TheNode, body: wire.PreemptedRequest) -> wire.Nothing:
    """A node's cloud has announced that it takes the machine back."""
    gateway.leases.preempted(node, body)
    return wire.Nothing()


@router.post("/nodes/self/leave", tags=["machines"])
def leave(gateway: TheGateway, node: TheNode, body: wire.LeaveRequest) -> wire.Nothing:
    """A node ends itself."""
    gateway.leases.leave(node, body)
    return wire.Nothing()


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
