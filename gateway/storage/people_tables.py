"""Tables of second factors, remembered devices and invitations."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, ForeignKey, String, Table, Text

from gateway.storage.columns import DIGEST, MONEY, NAME, UtcTime, metadata

totp_factors = Table(
    "totp_factors",
    metadata,
    Column("user_name", NAME, ForeignKey("users.name"), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("enrolled_at", UtcTime, nullable=False),
    Column("confirmed_at", UtcTime),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("user_name", NAME, ForeignKey("users.name"), primary_key=True),
    Column("code_hash", DIGEST, primary_key=True),
    Column("made_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
)

device_keys = Table(
    "device_keys",
    metadata,
    Column("id", String(43), primary_key=True),
    Column("user_name", NAME, ForeignKey("users.name"), nullable=False, index=True),
    Column("public_key", JSON, nullable=False),
    Column("name", String(255), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_used_at", UtcTime),
    Column("revoked_at", UtcTime),
)

invitations = Table(
    "invitations",
    metadata,
    Column("code_hash", DIGEST, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("user_name", NAME, nullable=False, index=True),  # of one who is not there yet
    Column("role", String(8), nullable=False),
    Column("group_name", NAME, ForeignKey("groups.name")),
    Column("credits_ucr", MONEY, nullable=False),
    Column("invited_by", NAME, ForeignKey("users.name"), nullable=False),
    Column("authorisation", DIGEST, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
    CheckConstraint("kind IN ('user', 'password')", name="kind"),
    CheckConstraint("role IN ('user', 'admin')", name="role"),
    CheckConstraint("credits_ucr >= 0", name="credits"),
)
