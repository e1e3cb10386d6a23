"""For which job a node is made, together with which others, and by which worker.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    _nodes()
    _unmatched_effects()


def _nodes() -> None:
    for column in (
        sa.Column("wanted_by", sa.BigInteger(), nullable=True),
        sa.Column("wanted_with", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("wanted_at", UtcTime(), nullable=True),
        sa.Column("owner", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("account", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("gang", sa.String(length=32), nullable=True),
        sa.Column("gang_number", sa.Integer(), nullable=True),
        sa.Column("ordered_at", UtcTime(), nullable=True),
        sa.Column("unheard_since", UtcTime(), nullable=True),
        sa.Column("lock", sa.String(length=128), nullable=False, server_default=""),
        sa.Column("lock_until", UtcTime(), nullable=True),
    ):
        op.add_column("nodes", column)


def _unmatched_effects() -> None:
    op.create_table(
        "unmatched_effects",
        sa.Column("machine_id", sa.String(length=256), nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("machine_id", name="pk_unmatched_effects"),
    )
