"""Audit: the audit log from the client's side.

Invariant: what is asked for is asked of the gateway; nothing is left out here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gateway import wire
from gateway.client.session import Session


@dataclass(frozen=True)
class Audit:
    """The audit log, as far as it concerns the user."""

    session: Session

    def records(self, limit: int, **asked: str | datetime | None) -> Iterator[wire.AuditRecord]:
        """Newest first, fetched a page at a time; ``asked`` are job, user, node, account, since, until, outcome."""
        question = {name: _text(value) for name, value in asked.items() if value is not None}
        seen, cursor = 0, None
        while seen < limit:
            page = self.session.get("/audit", wire.AuditPage, cursor=cursor, limit=min(limit - seen, 500), **question)
            yield from page.records
            seen, cursor = seen + len(page.records), page.next
            if cursor is None:
                return

    def verify(self, known: str | None = None) -> wire.AuditChain:
        """Have the gateway follow both chains. Raises AuditBroken, LedgerBroken, Refused."""
        return self.session.get("/audit/chain", wire.AuditChain, known=known)


def _text(value: str | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else value
