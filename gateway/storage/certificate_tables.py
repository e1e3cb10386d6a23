"""The table of kept certificates."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, String, Table, Text

from gateway.storage.columns import metadata

certificates = Table(
    "certificates",
    metadata,
    Column("session", String(43), ForeignKey("sessions.id"), primary_key=True),
    Column("token", Text, nullable=False),
)
