"""Signed: what changes anything, sent under the login's signature.

Invariant: this is the only module of the commands that loads the client and its cryptography.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
from pydantic import RootModel

from gateway import wire
from gateway.cli.slurm_commands.door import SLURM, Answer
from gateway.cli.slurm_commands.failure import Failure
from gateway.client.session import Session
from gateway.errors import BurstError

_Body = RootModel[dict[str, Any]]


def token(lifespan_s: int | None = None) -> str:
    """A token for looking. Raises Failure."""
    try:
        with Session.saved() as session:
            asked = wire.SlurmTokenRequest(lifespan_s=lifespan_s)
            return session.post("/slurm-tokens", asked, wire.SlurmToken).token
    except BurstError as error:
        raise told(error) from None


def send(method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
    """A signed request to the Slurm API; its answer, errors included. Raises Failure when nobody answers."""
    try:
        with Session.saved() as session:
            response = session.exchange(method, SLURM + path, None if body is None else _Body(dict(body)))
    except BurstError as error:
        raise told(error) from None
    return Answer(response.status_code, {}, _document(response))


def requeue(job: str) -> None:
    """Put a job back into the queue. Raises BurstError."""
    with Session.saved() as session:
        session.post(f"/jobs/{job}/requeue", None, wire.Nothing, safe=False)


def told(error: BurstError) -> Failure:
    """An error of the gateway's as the line that its commands print."""
    return Failure(f"burst: error: {error.detail.rstrip('.')}; {error.hint or 'try again'}")


def _document(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = {"errors": [{"error": response.text[:200]}]}
    return found if isinstance(found, dict) else {}
