"""Tables of groups and of the audit log."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, String, Table, Text

from gateway.storage.columns import COUNTER, DIGEST, JOB, MONEY, NAME, UtcTime, metadata

groups = Table(
    "groups",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("title", String(128), nullable=False),
    Column("account", NAME, ForeignKey("accounts.name"), unique=True),
    Column("created_at", UtcTime, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("group_name", NAME, ForeignKey("groups.name"), primary_key=True),
    Column("user_name", NAME, ForeignKey("users.name"), primary_key=True, index=True),
    Column("role", String(8), nullable=False),
    Column("since", UtcTime, nullable=False),
    CheckConstraint("role IN ('member', 'leader')", name="role"),
)

audit_records = Table(
    "audit_records",
    metadata,
    Column("seq", COUNTER, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("actor", String(128), nullable=False, index=True),
    Column("action", String(64), nullable=False),
    Column("subject", String(256), nullable=False, index=True),
    Column("outcome", String(8), nullable=False),
    Column("text", Text, nullable=False),
    Column("authorisation", DIGEST),
    Column("job", JOB, index=True),
    Column("amount_ucr", MONEY),
    Column("address", String(64)),
    Column("prev_hash", DIGEST, nullable=False, unique=True),
    Column("hash", DIGEST, nullable=False, unique=True),
    CheckConstraint("outcome IN ('done', 'refused', 'alarm')", name="outcome"),
    sqlite_autoincrement=True,
)
