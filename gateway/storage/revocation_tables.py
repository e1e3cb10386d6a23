"""Table of revoked credentials."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, String, Table

from gateway.storage.columns import JOB, UtcTime, metadata

revocations = Table(
    "revocations",
    metadata,
    Column("job", JOB, ForeignKey("jobs.id"), primary_key=True),
    Column("jti", String(64), primary_key=True),
    Column("by", String(128), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("until", UtcTime, nullable=False, index=True),
)
