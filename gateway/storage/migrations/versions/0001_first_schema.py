"""The first schema.

Invariant: once released it is never edited; a change of the schema is a further file.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.columns import UtcTime
from gateway.storage.migrations.append_only import refuse_changes

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = ("ledger_entries", "evidence")


def upgrade() -> None:
    """Apply it."""
    _users()
    _sessions()
    _used_nonces()
    _evidence()
    _idempotency()
    _accounts()
    _balances()
    _ledger_entries()
    _holds()
    _receipts()
    _jobs()
    _attempts()
    _manifest_parts()
    _job_events()
    _uploads()
    _nodes()
    _node_events()
    _job_keys()
    _budgets()
    _publications()
    _publication_grants()
    _device_logins()
    _browsers()
    _system_accounts()
    for table in _APPEND_ONLY:
        refuse_changes(table)


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("unix_name", sa.String(length=64), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.CheckConstraint("role IN ('user', 'admin', 'service')", name=op.f("ck_users_role")),
        sa.Column("disabled_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=43), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("revoked_at", UtcTime(), nullable=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("how", sa.String(length=8), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("origin_key", sa.String(length=43), nullable=True),
        sa.Column("used_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_sessions_user_name"),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    op.create_index("ix_sessions_user_name", "sessions", ["user_name"])


def _used_nonces() -> None:
    op.create_table(
        "used_nonces",
        sa.Column("kid", sa.String(length=128), nullable=False),
        sa.Column("jti", sa.String(length=128), nullable=False),
        sa.Column("used_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("kid", "jti", name="pk_used_nonces"),
    )
    op.create_index("ix_used_nonces_expires_at", "used_nonces", ["expires_at"])


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("jws", sa.Text(), nullable=False),
        sa.Column("kid", sa.String(length=128), nullable=False),
        sa.Column("method", sa.String(length=8), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.JSON(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_evidence"),
    )


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("response", sa.JSON(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("user_name", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"])


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("overdraft_ucr", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("kind IN ('user', 'project', 'system')", name=op.f("ck_accounts_kind")),
        sa.CheckConstraint("overdraft_ucr >= 0", name=op.f("ck_accounts_overdraft")),
        sa.PrimaryKeyConstraint("name", name="pk_accounts"),
    )


def _balances() -> None:
    op.create_table(
        "balances",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("amount_ucr", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_balances_account"),
        sa.PrimaryKeyConstraint("account", name="pk_balances"),
    )


def _ledger_entries() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("txn", sa.String(length=32), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("amount_ucr", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=True),
        sa.Column("authorisation", sa.String(length=64), nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.CheckConstraint("kind IN ('deposit', 'hold', 'charge', 'refund')", name=op.f("ck_ledger_entries_kind")),
        sa.CheckConstraint("amount_ucr <> 0", name=op.f("ck_ledger_entries_amount")),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_ledger_entries_account"),
        sa.PrimaryKeyConstraint("seq", name="pk_ledger_entries"),
        sa.UniqueConstraint("hash", name="uq_ledger_entries_hash"),
        sa.UniqueConstraint("prev_hash", name="uq_ledger_entries_prev_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ledger_entries_account", "ledger_entries", ["account"])
    op.create_index("ix_ledger_entries_job", "ledger_entries", ["job"])
    op.create_index("ix_ledger_entries_txn", "ledger_entries", ["txn"])


def _holds() -> None:
    op.create_table(
        "holds",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("amount_ucr", sa.BigInteger(), nullable=False),
        sa.Column("charged_ucr", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("settled_at", UtcTime(), nullable=True),
        sa.CheckConstraint("(state = 'settled') = (charged_ucr IS NOT NULL)", name=op.f("ck_holds_settled")),
        sa.CheckConstraint("state IN ('open', 'settled')", name=op.f("ck_holds_state")),
        sa.CheckConstraint("amount_ucr >= 0", name=op.f("ck_holds_amount")),
        sa.CheckConstraint("charged_ucr >= 0 AND charged_ucr <= amount_ucr", name=op.f("ck_holds_charged")),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_holds_account"),
        sa.PrimaryKeyConstraint("job", name="pk_holds"),
    )
    op.create_index("ix_holds_account", "holds", ["account"])


def _receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("number", sa.String(length=32), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_receipts"),
        sa.UniqueConstraint("job", name="uq_receipts_job"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("scheduler_id", sa.BigInteger(), nullable=True),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("offer", sa.String(length=64), nullable=False),
        sa.Column("hold_ucr", sa.BigInteger(), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("submit_directory", sa.Text(), nullable=False),
        sa.Column("submitted_at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("stop_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.Column("next_at", UtcTime(), nullable=True),
        sa.CheckConstraint("hold_ucr >= 0", name=op.f("ck_jobs_hold")),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_next_at", "jobs", ["next_at"])
    op.create_index("ix_jobs_scheduler_id", "jobs", ["scheduler_id"])
    op.create_index("ix_jobs_stage", "jobs", ["stage"])
    op.create_index("ix_jobs_submitted_at", "jobs", ["submitted_at"])
    op.create_index("ix_jobs_user_name", "jobs", ["user_name"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("task", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("nodes", sa.JSON(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=True),
        sa.Column("stdout", sa.Text(), nullable=False),
        sa.Column("stderr", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_attempts_job"),
        sa.PrimaryKeyConstraint("job", "task", "number", name="pk_attempts"),
    )
    op.create_index("ix_attempts_scheduler_id", "attempts", ["scheduler_id"])


def _manifest_parts() -> None:
    op.create_table(
        "manifest_parts",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("task", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_manifest_parts_job"),
        sa.PrimaryKeyConstraint("job", "task", "number", "node", name="pk_manifest_parts"),
    )


def _job_events() -> None:
    op.create_table(
        "job_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_job_events_job"),
        sa.PrimaryKeyConstraint("id", name="pk_job_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_job_events_job", "job_events", ["job"])


def _uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.CheckConstraint("size >= 0", name=op.f("ck_uploads_size")),
        sa.PrimaryKeyConstraint("key", name="pk_uploads"),
    )


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("offer", sa.String(length=64), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("supply", sa.String(length=128), nullable=True),
        sa.Column("machine_id", sa.String(length=256), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("public_addresses", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("join_token_hash", sa.String(length=64), nullable=True),
        sa.Column("join_until", UtcTime(), nullable=True),
        sa.Column("public_key", sa.JSON(), nullable=True),
        sa.Column("ssh_host_keys", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("job", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("generation >= 0", name=op.f("ck_nodes_generation")),
        sa.PrimaryKeyConstraint("name", name="pk_nodes"),
    )
    op.create_index("ix_nodes_state", "nodes", ["state"])


def _node_events() -> None:
    op.create_table(
        "node_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.name"], name="fk_node_events_node"),
        sa.PrimaryKeyConstraint("id", name="pk_node_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_node_events_node_generation", "node_events", ["node", "generation"])


def _job_keys() -> None:
    op.create_table(
        "job_keys",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("chain", sa.Text(), server_default="", nullable=False),
        sa.Column("opened_at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("withdrawn_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_job_keys_job"),
        sa.PrimaryKeyConstraint("job", "label", name="pk_job_keys"),
    )
    op.create_index("ix_job_keys_withdrawn_at", "job_keys", ["withdrawn_at"])


def _device_logins() -> None:
    op.create_table(
        "device_logins",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("user_code", sa.String(length=9), nullable=False),
        sa.Column("public_key", sa.JSON(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("asked_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("given", sa.JSON(), nullable=False),
        sa.Column("polled_at", UtcTime(), nullable=True),
        sa.Column("user_name", sa.String(length=64), nullable=True),
        sa.Column("session", sa.String(length=43), nullable=True),
        sa.Column("approval", sa.Text(), nullable=True),
        sa.Column("decided_at", UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'approved', 'refused')", name=op.f("ck_device_logins_state")),
        sa.CheckConstraint("(state = 'pending') = (approval IS NULL)", name=op.f("ck_device_logins_approval")),
        sa.CheckConstraint("(state = 'approved') = (session IS NOT NULL)", name=op.f("ck_device_logins_session")),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_device_logins_user_name"),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name="fk_device_logins_session"),
        sa.PrimaryKeyConstraint("code_hash", name="pk_device_logins"),
        sa.UniqueConstraint("user_code", name="uq_device_logins_user_code"),
    )
    op.create_index("ix_device_logins_expires_at", "device_logins", ["expires_at"])


def _browsers() -> None:
    op.create_table(
        "browsers",
        sa.Column("cookie_hash", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=256), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("session", sa.String(length=43), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("amr", sa.String(length=64), nullable=False),
        sa.Column("proved_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_browsers_user_name"),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name="fk_browsers_session"),
        sa.PrimaryKeyConstraint("cookie_hash", name="pk_browsers"),
    )
    op.create_index("ix_browsers_user_name", "browsers", ["user_name"])
    op.create_index("ix_browsers_expires_at", "browsers", ["expires_at"])


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("limit_ucr", sa.BigInteger(), nullable=False),
        sa.Column("stops", sa.Boolean(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        sa.Column("by_admin", sa.Boolean(), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.CheckConstraint("limit_ucr >= 0", name=op.f("ck_budgets_limit")),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_budgets_account"),
        sa.PrimaryKeyConstraint("account", name="pk_budgets"),
    )


def _publications() -> None:
    op.create_table(
        "publications",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("doi", sa.String(length=128), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("access", sa.String(length=16), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.CheckConstraint("state IN ('intent', 'draft', 'findable')", name=op.f("ck_publications_state")),
        sa.CheckConstraint("access IN ('open', 'restricted')", name=op.f("ck_publications_access")),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_publications_job"),
        sa.PrimaryKeyConstraint("id", name="pk_publications"),
        sa.UniqueConstraint("doi", name="uq_publications_doi"),
        sa.UniqueConstraint("job", name="uq_publications_job"),
    )
    op.create_index("ix_publications_user_name", "publications", ["user_name"])


def _publication_grants() -> None:
    op.create_table(
        "publication_grants",
        sa.Column("publication", sa.String(length=32), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("granted_by", sa.String(length=64), nullable=False),
        sa.Column("authorisation", sa.String(length=64), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["publication"], ["publications.id"], name="fk_publication_grants_publication"),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name="fk_publication_grants_user_name"),
        sa.PrimaryKeyConstraint("publication", "user_name", name="pk_publication_grants"),
    )


def _system_accounts() -> None:
    names = ("system:issued", "system:holds", "system:revenue")
    accounts = sa.table("accounts", sa.column("name"), sa.column("kind"))
    op.bulk_insert(accounts, [{"name": name, "kind": "system"} for name in names])
    balances = sa.table("balances", sa.column("account"), sa.column("amount_ucr"))
    op.bulk_insert(balances, [{"account": name, "amount_ucr": 0} for name in names])
