"""The gateways that this one trusts.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    op.create_table(
        "peers",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("audience", sa.String(length=256), nullable=False),
        sa.Column("keys", sa.JSON(), nullable=False),
        sa.Column("projects", sa.JSON(), nullable=False),
        sa.Column("trusted_by", sa.String(length=64), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_peers"),
        sa.UniqueConstraint("issuer", name="uq_peers_issuer"),
    )
    op.create_table(
        "visits",
        sa.Column("session", sa.String(length=43), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("visa", sa.String(length=128), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name="fk_visits_session"),
        sa.PrimaryKeyConstraint("session", name="pk_visits"),
        sa.UniqueConstraint("visa", name="uq_visits_visa"),
    )
    op.create_index("ix_visits_peer", "visits", ["peer"])
