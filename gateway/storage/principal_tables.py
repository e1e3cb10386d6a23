"""Tables of service principals and their public keys."""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, String, Table

from gateway.storage.columns import NAME, UtcTime, metadata

principals = Table(
    "principals",
    metadata,
    Column("name", NAME, ForeignKey("users.name"), primary_key=True),
    Column("project", NAME, ForeignKey("groups.name")),
    Column("scopes", JSON, nullable=False),
    Column("created_by", NAME, ForeignKey("users.name"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("removed_at", UtcTime),
)

principal_keys = Table(
    "principal_keys",
    metadata,
    Column("id", String(43), primary_key=True),
    Column("principal", NAME, ForeignKey("principals.name"), nullable=False, index=True),
    Column("public_key", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
    Column("removed_at", UtcTime),
)
