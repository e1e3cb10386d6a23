"""Revoked credentials of jobs.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    op.create_table(
        "revocations",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("jti", sa.String(length=64), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_revocations_job"),
        sa.PrimaryKeyConstraint("job", "jti", name="pk_revocations"),
    )
    op.create_index("ix_revocations_until", "revocations", ["until"])
