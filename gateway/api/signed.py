"""Signed: who sent a request, as FastAPI dependencies.

Invariant: an endpoint that changes anything depends on one of these, and so on the signature over its body.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from gateway.identity.authenticate import Caller
from gateway.identity.authenticate import Request as SignedRequest
from gateway.identity.credentials import JobGrant
from gateway.provisioning.fleet import ElasticNode
from gateway.service.gateway import Gateway


async def gateway_of(request: Request) -> Gateway:
    """The gateway that this app is the door of; not worth a thread, which a plain function would be given."""
    gateway: Gateway = request.app.state.gateway
    return gateway


async def received(request: Request) -> SignedRequest:
    """The request as it came over the wire."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    return SignedRequest(
        method=request.method,
        path=f"{path}?{query}" if query else path,
        body=await request.body(),
        authorization=request.headers.get("authorization"),
    )


AsReceived = Annotated[SignedRequest, Depends(received)]
TheGateway = Annotated[Gateway, Depends(gateway_of)]


def user_of(gateway: TheGateway, request: Annotated[SignedRequest, Depends(received)], raw: Request) -> Caller:
    """The user who signed; remembered, so that what is then refused them can be told to the audit log."""
    raw.state.caller = caller = gateway.people.user(request)
    return caller


def node_of(gateway: TheGateway, request: Annotated[SignedRequest, Depends(received)]) -> ElasticNode:
    """The node that signed."""
    return gateway.people.node(request)


def job_of(gateway: TheGateway, authorization: Annotated[str | None, Header()] = None) -> JobGrant:
    """The job whose credential came with the request."""
    return gateway.people.job(authorization)


async def address_of(request: Request) -> str:
    """Where the request came from, as the socket tells it."""
    return request.client.host if request.client else "unknown"


Address = Annotated[str, Depends(address_of)]
TheUser = Annotated[Caller, Depends(user_of)]
TheNode = Annotated[ElasticNode, Depends(node_of)]
TheJob = Annotated[JobGrant, Depends(job_of)]

IdempotencyKey = Annotated[str | None, Header(min_length=8, max_length=128)]
"""Under which an answer is kept, so that the request can be sent again."""
