"""Access rules and links.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

RIGHTS = ("owner", "readable", "writeable", "executable")


def upgrade() -> None:
    """Apply it."""
    _access_rules()
    _share_links()


def _access_rules() -> None:
    op.create_table(
        "access_rules",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        *(sa.Column(right, sa.Boolean(), nullable=True) for right in RIGHTS),
        sa.Column("combination", sa.String(length=3), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.CheckConstraint("combination IN ('max', 'min', 'sub')", name=op.f("ck_access_rules_combination")),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_access_rules_job"),
        sa.PrimaryKeyConstraint("job", "path", "subject", name="pk_access_rules"),
    )
    op.create_index("ix_access_rules_subject", "access_rules", ["subject"])


def _share_links() -> None:
    op.create_table(
        "share_links",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        *(sa.Column(right, sa.Boolean(), nullable=True) for right in RIGHTS),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("revoked_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_share_links_job"),
        sa.ForeignKeyConstraint(["made_by"], ["users.name"], name="fk_share_links_made_by"),
        sa.PrimaryKeyConstraint("id", name="pk_share_links"),
    )
    op.create_index("ix_share_links_job", "share_links", ["job"])
    op.create_index("ix_share_links_made_by", "share_links", ["made_by"])
