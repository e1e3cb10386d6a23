"""Tables of access rules and of links."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, String, Table

from gateway.storage.columns import DIGEST, JOB, NAME, UtcTime, metadata

PATH = String(1024)
SUBJECT = String(80)


def _answers() -> tuple[Column[bool], ...]:
    """Yes, no, or NULL: as the folder above has it."""
    return tuple(Column(right, Boolean) for right in ("owner", "readable", "writeable", "executable"))


access_rules = Table(
    "access_rules",
    metadata,
    Column("job", JOB, ForeignKey("jobs.id"), primary_key=True),
    Column("path", PATH, primary_key=True),
    Column("subject", SUBJECT, primary_key=True, index=True),
    *_answers(),
    Column("combination", String(3), nullable=False),
    Column("made_by", NAME, nullable=False),
    Column("authorisation", DIGEST, nullable=False),
    Column("at", UtcTime, nullable=False),
    CheckConstraint("combination IN ('max', 'min', 'sub')", name="combination"),
)

share_links = Table(
    "share_links",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("job", JOB, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("path", PATH, nullable=False),
    *_answers(),
    Column("made_by", NAME, ForeignKey("users.name"), nullable=False, index=True),
    Column("secret_hash", DIGEST, nullable=False),
    Column("authorisation", DIGEST, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
)
