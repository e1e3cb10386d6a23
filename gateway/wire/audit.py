"""Audit: records of who did what, page by page."""

from __future__ import annotations

from datetime import datetime

from gateway.wire.form import View


class AuditRecord(View):
    """One record; ``authorisation`` is the digest of the signed request behind it, whose evidence is kept."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    outcome: str
    text: str
    authorisation: str | None
    job: str | None
    amount_ucr: int | None
    address: str | None
    hash: str


class AuditPage(View):
    """Newest first; ``next`` is the cursor of the following page."""

    records: tuple[AuditRecord, ...]
    next: int | None


class AuditChain(View):
    """Both chains agree with themselves; each head is to be compared with one that was written down earlier."""

    records: int
    head: str
    ledger_entries: int
    ledger_head: str
