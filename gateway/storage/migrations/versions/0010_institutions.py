"""Who people are at institutions.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply it."""
    _identities()
    _sign_in_flows()


def _identities() -> None:
    op.create_table(
        "identities",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=128), nullable=False),
        sa.Column("linked_at", UtcTime(), nullable=False),
        sa.Column("made_user", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_identities_user_name"),
        sa.PrimaryKeyConstraint("id", name="pk_identities"),
        sa.UniqueConstraint("issuer", "subject", name="uq_identities_issuer_subject"),
    )
    op.create_index("ix_identities_user_name", "identities", ["user_name"])


def _sign_in_flows() -> None:
    op.create_table(
        "sign_in_flows",
        sa.Column("state_hash", sa.String(length=64), nullable=False),
        sa.Column("cookie_hash", sa.String(length=64), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("next", sa.String(length=512), nullable=False),
        sa.Column("public_key", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("browser", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["browser"], ["browsers.cookie_hash"], name="fk_sign_in_flows_browser"),
        sa.PrimaryKeyConstraint("state_hash", name="pk_sign_in_flows"),
    )
    op.create_index("ix_sign_in_flows_expires_at", "sign_in_flows", ["expires_at"])
