"""Tables of the gateways that this one trusts, and of the visas that were used."""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, String, Table

from gateway.storage.columns import DIGEST, NAME, UtcTime, metadata

peers = Table(
    "peers",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("issuer", String(512), nullable=False, unique=True),
    Column("audience", String(256), nullable=False),
    Column("keys", JSON, nullable=False),
    Column("projects", JSON, nullable=False),
    Column("trusted_by", NAME, nullable=False),
    Column("authorisation", DIGEST, nullable=False),
    Column("since", UtcTime, nullable=False),
)

visits = Table(
    "visits",
    metadata,
    Column("session", String(43), ForeignKey("sessions.id"), primary_key=True),
    Column("peer", NAME, nullable=False, index=True),
    Column("visa", String(128), nullable=False, unique=True),
    Column("authorisation", DIGEST, nullable=False),
    Column("at", UtcTime, nullable=False),
)
