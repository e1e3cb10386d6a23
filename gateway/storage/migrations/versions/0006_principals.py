"""Service principals and their keys.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    op.create_table(
        "principals",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("removed_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["name"], ["users.name"], name="fk_principals_name"),
        sa.ForeignKeyConstraint(["project"], ["groups.name"], name="fk_principals_project"),
        sa.ForeignKeyConstraint(["created_by"], ["users.name"], name="fk_principals_created_by"),
        sa.PrimaryKeyConstraint("name", name="pk_principals"),
    )
    op.create_table(
        "principal_keys",
        sa.Column("id", sa.String(length=43), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("used_at", UtcTime(), nullable=True),
        sa.Column("removed_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["principal"], ["principals.name"], name="fk_principal_keys_principal"),
        sa.PrimaryKeyConstraint("id", name="pk_principal_keys"),
    )
    op.create_index("ix_principal_keys_principal", "principal_keys", ["principal"])
