"""The table of machines that late workers made, until the reaper has seen to them."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table

from gateway.storage.columns import NAME, UtcTime, metadata

unmatched_effects = Table(
    "unmatched_effects",
    metadata,
    Column("machine_id", String(256), primary_key=True),
    Column("node", NAME, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("token", String(32), nullable=False),
    Column("at", UtcTime, nullable=False),
)
