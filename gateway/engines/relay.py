"""Relay: a request passed on to slurmrestd as it is, and its answer as slurmrestd gave it.

Invariant: nothing of an answer is changed here; what could not be asked is SchedulerUnavailable, never an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Relayed:
    """An answer: HTTP status, media type, body."""

    status: int
    media_type: str
    body: bytes

    def document(self) -> dict[str, Any] | None:
        """The body, if it is a JSON object."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def with_document(self, document: Mapping[str, Any], status: int | None = None) -> Relayed:
        """The same answer about less."""
        return Relayed(status or self.status, self.media_type, json.dumps(document, indent=2).encode())


class Relay(Protocol):
    """A slurmrestd that can be asked anything. Raises SchedulerUnavailable."""

    def relay(self, method: str, path: str, query: str = "", body: Mapping[str, Any] | None = None) -> Relayed:
        """``path`` is what follows ``/slurm/v0.0.42``; ``query`` as it came, without its question mark."""
