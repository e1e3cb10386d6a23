"""Certificates of sessions.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.migrations.append_only import refuse_changes

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    op.create_table(
        "certificates",
        sa.Column("session", sa.String(length=43), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name="fk_certificates_session"),
        sa.PrimaryKeyConstraint("session", name="pk_certificates"),
    )
    refuse_changes("certificates")
