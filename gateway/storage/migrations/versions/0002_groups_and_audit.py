"""Groups, projects and the audit log.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime
from gateway.storage.migrations.append_only import refuse_changes

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    _groups()
    _memberships()
    _audit_records()
    refuse_changes("audit_records")


def _groups() -> None:
    op.create_table(
        "groups",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=128), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_groups_account"),
        sa.PrimaryKeyConstraint("name", name="pk_groups"),
        sa.UniqueConstraint("account", name="uq_groups_account"),
    )


def _memberships() -> None:
    op.create_table(
        "memberships",
        sa.Column("group_name", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.CheckConstraint("role IN ('member', 'leader')", name=op.f("ck_memberships_role")),
        sa.ForeignKeyConstraint(["group_name"], ["groups.name"], name="fk_memberships_group_name"),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_memberships_user_name"),
        sa.PrimaryKeyConstraint("group_name", "user_name", name="pk_memberships"),
    )
    op.create_index("ix_memberships_user_name", "memberships", ["user_name"])


def _audit_records() -> None:
    op.create_table(
        "audit_records",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=True),
        sa.Column("job", sa.String(length=32), nullable=True),
        sa.Column("amount_ucr", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.CheckConstraint("outcome IN ('done', 'refused', 'alarm')", name=op.f("ck_audit_records_outcome")),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_records"),
        sa.UniqueConstraint("hash", name="uq_audit_records_hash"),
        sa.UniqueConstraint("prev_hash", name="uq_audit_records_prev_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_records_actor", "audit_records", ["actor"])
    op.create_index("ix_audit_records_job", "audit_records", ["job"])
    op.create_index("ix_audit_records_subject", "audit_records", ["subject"])
