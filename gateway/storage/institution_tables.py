"""Tables of who people are at institutions, and of sign-ins that are on their way there."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, String, Table, UniqueConstraint

from gateway.storage.columns import DIGEST, NAME, UtcTime, metadata

identities = Table(
    "identities",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("issuer", String(255), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("user_name", NAME, ForeignKey("users.name"), nullable=False, index=True),
    Column("institution", NAME, nullable=False),
    Column("label", String(128), nullable=False),
    Column("linked_at", UtcTime, nullable=False),
    Column("made_user", Boolean, nullable=False),
    UniqueConstraint("issuer", "subject"),
)

sign_in_flows = Table(
    "sign_in_flows",
    metadata,
    Column("state_hash", DIGEST, primary_key=True),
    Column("cookie_hash", DIGEST, nullable=False),
    Column("institution", NAME, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("next", String(512), nullable=False),
    Column("public_key", JSON(none_as_null=True)),
    Column("browser", DIGEST, ForeignKey("browsers.cookie_hash")),
)
