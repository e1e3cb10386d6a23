"""Answers by Idempotency-Key: a request that is sent again is answered again, not performed again.

Source: draft-ietf-httpapi-idempotency-key-header. Invariant: a key belongs to one user and one request body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True)
class Answer:
    """What a request with an idempotency key was answered."""

    status: int
    response: Mapping[str, Any]


class IdempotencyStore(Protocol):
    """The stored answers, inside one transaction of the database."""

    def answered(self, user: str, key: str, body: bytes) -> Answer | None:
        """What the same request was answered before. Raises Conflict when the key came with another body."""

    def keep(self, user: str, key: str, body: bytes, answer: Answer, now: datetime) -> None:
        """Keep an answer, in the transaction of what it tells. Raises Conflict when another was first."""
