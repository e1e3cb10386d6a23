"""Second factors, remembered devices and invitations.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    _totp_factors()
    _recovery_codes()
    _device_keys()
    _invitations()


def _totp_factors() -> None:
    op.create_table(
        "totp_factors",
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", UtcTime(), nullable=False),
        sa.Column("confirmed_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_totp_factors_user_name"),
        sa.PrimaryKeyConstraint("user_name", name="pk_totp_factors"),
    )


def _recovery_codes() -> None:
    op.create_table(
        "recovery_codes",
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("used_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_recovery_codes_user_name"),
        sa.PrimaryKeyConstraint("user_name", "code_hash", name="pk_recovery_codes"),
    )


def _device_keys() -> None:
    op.create_table(
        "device_keys",
        sa.Column("id", sa.String(length=43), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.JSON(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("last_used_at", UtcTime(), nullable=True),
        sa.Column("revoked_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_device_keys_user_name"),
        sa.PrimaryKeyConstraint("id", name="pk_device_keys"),
    )
    op.create_index("ix_device_keys_user_name", "device_keys", ["user_name"])


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("group_name", sa.String(length=64), nullable=True),
        sa.Column("credits_ucr", sa.BigInteger(), nullable=False),
        sa.Column("invited_by", sa.String(length=64), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("used_at", UtcTime(), nullable=True),
        sa.CheckConstraint("kind IN ('user', 'password')", name=op.f("ck_invitations_kind")),
        sa.CheckConstraint("role IN ('user', 'admin')", name=op.f("ck_invitations_role")),
        sa.CheckConstraint("credits_ucr >= 0", name=op.f("ck_invitations_credits")),
        sa.ForeignKeyConstraint(["group_name"], ["groups.name"], name="fk_invitations_group_name"),
        sa.ForeignKeyConstraint(["invited_by"], ["users.name"], name="fk_invitations_invited_by"),
        sa.PrimaryKeyConstraint("code_hash", name="pk_invitations"),
    )
    op.create_index("ix_invitations_user_name", "invitations", ["user_name"])
