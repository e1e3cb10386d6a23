"""Passkeys and their challenges.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    _passkeys()
    _passkey_challenges()


def _passkeys() -> None:
    op.create_table(
        "passkeys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("handle", sa.String(length=43), nullable=False),
        sa.Column("credential_id", sa.String(length=1364), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("used_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_passkeys_user_name"),
        sa.PrimaryKeyConstraint("id", name="pk_passkeys"),
        sa.UniqueConstraint("credential_id", name="uq_passkeys_credential_id"),
    )
    op.create_index("ix_passkeys_user_name", "passkeys", ["user_name"])


def _passkey_challenges() -> None:
    op.create_table(
        "passkey_challenges",
        sa.Column("cookie_hash", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=8), nullable=False),
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("handle", sa.String(length=43), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.CheckConstraint("purpose IN ('add', 'sign-in')", name=op.f("ck_passkey_challenges_purpose")),
        sa.PrimaryKeyConstraint("cookie_hash", "purpose", name="pk_passkey_challenges"),
    )
    op.create_index("ix_passkey_challenges_expires_at", "passkey_challenges", ["expires_at"])
