"""Which gang a node's machine was ordered with.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    op.add_column("nodes", sa.Column("gang", sa.String(length=32), nullable=True))
    op.add_column("nodes", sa.Column("gang_number", sa.Integer(), nullable=True))
