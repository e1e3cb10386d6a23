"""Every table of the gateway, as SQLAlchemy Core objects with types that SQLite and PostgreSQL share.

Invariant: times are aware UTC, money is integer micro-credits in columns ending in ``_ucr``, and what must never be
twice (a nonce, a job's hold, a receipt) is a key of its table.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from gateway.storage.columns import COUNTER, DIGEST, JOB, MONEY, NAME, UtcTime, metadata

# ---------------------------------------------------------------- identity

users = Table(
    "users",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("password_hash", String(256), nullable=False),
    Column("role", String(8), nullable=False),
    Column("account", NAME, nullable=False),
    Column("unix_name", NAME),
    Column("created_at", UtcTime, nullable=False),
    CheckConstraint("role IN ('user', 'admin', 'service')", name="role"),
    Column("disabled_at", UtcTime),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(43), primary_key=True),
    Column("user_name", NAME, ForeignKey("users.name"), nullable=False, index=True),
    Column("public_key", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Column("scopes", JSON, nullable=False),
    Column("how", String(8), nullable=False),
    Column("address", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("origin_key", String(43)),
    Column("used_at", UtcTime),
)

used_nonces = Table(
    "used_nonces",
    metadata,
    Column("kid", String(128), primary_key=True),
    Column("jti", String(128), primary_key=True),
    Column("used_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

evidence = Table(
    "evidence",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("jws", Text, nullable=False),
    Column("kid", String(128), nullable=False),
    Column("method", String(8), nullable=False),
    Column("path", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("public_key", JSON, nullable=False),
    Column("at", UtcTime, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("user_name", NAME, primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("request_digest", DIGEST, nullable=False),
    Column("status", Integer, nullable=False),
    Column("response", JSON, nullable=False),
    Column("at", UtcTime, nullable=False, index=True),
)

# ---------------------------------------------------------------- accounting

accounts = Table(
    "accounts",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("overdraft_ucr", MONEY, nullable=False, server_default="0"),
    CheckConstraint("kind IN ('user', 'project', 'system')", name="kind"),
    CheckConstraint("overdraft_ucr >= 0", name="overdraft"),
)

balances = Table(
    "balances",
    metadata,
    Column("account", NAME, ForeignKey("accounts.name"), primary_key=True),
    Column("amount_ucr", MONEY, nullable=False),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("seq", COUNTER, primary_key=True, autoincrement=True),
    Column("txn", String(32), nullable=False, index=True),
    Column("account", NAME, ForeignKey("accounts.name"), nullable=False, index=True),
    Column("amount_ucr", MONEY, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("memo", Text, nullable=False),
    Column("job", JOB, index=True),
    Column("authorisation", DIGEST),
    Column("at", UtcTime, nullable=False),
    Column("prev_hash", DIGEST, nullable=False, unique=True),  # two rows after the same one would be a fork
    Column("hash", DIGEST, nullable=False, unique=True),
    CheckConstraint("kind IN ('deposit', 'hold', 'charge', 'refund')", name="kind"),
    CheckConstraint("amount_ucr <> 0", name="amount"),
    sqlite_autoincrement=True,
)

holds = Table(
    "holds",
    metadata,
    Column("job", JOB, primary_key=True),
    Column("account", NAME, ForeignKey("accounts.name"), nullable=False, index=True),
    Column("amount_ucr", MONEY, nullable=False),
    Column("charged_ucr", MONEY),
    Column("state", String(8), nullable=False),
    Column("authorisation", DIGEST),
    Column("at", UtcTime, nullable=False),
    Column("settled_at", UtcTime),
    CheckConstraint("amount_ucr >= 0", name="amount"),
    CheckConstraint("charged_ucr >= 0 AND charged_ucr <= amount_ucr", name="charged"),
    CheckConstraint("state IN ('open', 'settled')", name="state"),
    CheckConstraint("(state = 'settled') = (charged_ucr IS NOT NULL)", name="settled"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("number", String(32), primary_key=True),
    Column("job", JOB, nullable=False, unique=True),
    Column("document", JSON, nullable=False),
    Column("signature", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)

# ---------------------------------------------------------------- jobs

jobs = Table(
    "jobs",
    metadata,
    Column("id", JOB, primary_key=True),
    Column("scheduler_id", BigInteger, index=True),
    Column("user_name", NAME, nullable=False, index=True),
    Column("account", NAME, nullable=False),
    Column("name", Text, nullable=False),
    Column("stage", String(16), nullable=False, index=True),
    Column("state", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("offer", NAME, nullable=False),
    Column("hold_ucr", MONEY, nullable=False),
    Column("authorisation", DIGEST, nullable=False),
    Column("request", JSON, nullable=False),
    Column("submit_directory", Text, nullable=False),
    Column("submitted_at", UtcTime, nullable=False, index=True),
    Column("ended_at", UtcTime),
    Column("cancel_requested", Boolean, nullable=False, server_default="0"),
    Column("exit_code", Integer),
    Column("stop_reason", Text, nullable=False, server_default=""),
    Column("lease_owner", String(128)),
    Column("lease_until", UtcTime),
    Column("next_at", UtcTime, index=True),
    CheckConstraint("hold_ucr >= 0", name="hold"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job", JOB, ForeignKey("jobs.id"), primary_key=True),
    Column("task", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("scheduler_id", BigInteger, nullable=False, index=True),
    Column("state", String(32), nullable=False),
    Column("nodes", JSON, nullable=False),
    Column("started_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("exit_code", Integer),
    Column("manifest_sha256", DIGEST),
    Column("stdout", Text, nullable=False),
    Column("stderr", Text, nullable=False),
)

manifest_parts = Table(
    "manifest_parts",
    metadata,
    Column("job", JOB, ForeignKey("jobs.id"), primary_key=True),
    Column("task", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("node", NAME, primary_key=True),
    Column("files", JSON, nullable=False),
    Column("errors", JSON, nullable=False),
    Column("at", UtcTime, nullable=False),
)

job_events = Table(
    "job_events",
    metadata,
    Column("id", COUNTER, primary_key=True, autoincrement=True),
    Column("job", JOB, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("text", Text, nullable=False),
    sqlite_autoincrement=True,  # an id is a cursor of the event stream and must never come back
)

uploads = Table(
    "uploads",
    metadata,
    Column("key", String(256), primary_key=True),
    Column("sha256", DIGEST, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("user_name", NAME, nullable=False),
    Column("at", UtcTime, nullable=False),
    CheckConstraint("size >= 0", name="size"),
)

# ---------------------------------------------------------------- nodes

nodes = Table(
    "nodes",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("state", String(32), nullable=False, index=True),
    Column("offer", NAME, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("supply", String(128)),
    Column("machine_id", String(256)),
    Column("address", String(64)),
    Column("public_addresses", JSON, nullable=False, server_default="[]"),
    Column("join_token_hash", DIGEST),
    Column("join_until", UtcTime),
    Column("public_key", JSON(none_as_null=True)),
    Column("ssh_host_keys", JSON, nullable=False, server_default="[]"),
    Column("lease_until", UtcTime),
    Column("wanted", Boolean, nullable=False),
    Column("wanted_by", BigInteger),
    Column("wanted_with", Integer, nullable=False, server_default="1"),
    Column("wanted_at", UtcTime),
    Column("job", BigInteger),
    Column("owner", String(64), nullable=False, server_default=""),
    Column("account", String(64), nullable=False, server_default=""),
    Column("gang", String(32)),
    Column("gang_number", Integer),
    Column("ordered_at", UtcTime),
    Column("unheard_since", UtcTime),
    Column("lock", String(128), nullable=False, server_default=""),
    Column("lock_until", UtcTime),
    Column("reason", Text, nullable=False),
    CheckConstraint("generation >= 0", name="generation"),
)

node_events = Table(
    "node_events",
    metadata,
    Column("id", COUNTER, primary_key=True, autoincrement=True),
    Column("node", NAME, ForeignKey("nodes.name"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("text", Text, nullable=False),
    Index(None, "node", "generation"),
    sqlite_autoincrement=True,
)

# ---------------------------------------------------------------- keys of jobs to the store

job_keys = Table(
    "job_keys",
    metadata,
    Column("job", JOB, ForeignKey("jobs.id"), primary_key=True),
    Column("label", String(64), primary_key=True),
    Column("chain", Text, nullable=False, server_default=""),
    Column("opened_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("withdrawn_at", UtcTime, index=True),
)

# ---------------------------------------------------------------- budgets

budgets = Table(
    "budgets",
    metadata,
    Column("account", NAME, ForeignKey("accounts.name"), primary_key=True),
    Column("limit_ucr", MONEY, nullable=False),
    Column("stops", Boolean, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("set_by", NAME, nullable=False),
    Column("by_admin", Boolean, nullable=False),
    Column("authorisation", DIGEST, nullable=False),
    CheckConstraint("limit_ucr >= 0", name="limit"),
)

# ---------------------------------------------------------------- publications

publications = Table(
    "publications",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("job", JOB, ForeignKey("jobs.id"), nullable=False, unique=True),
    Column("doi", String(128), nullable=False, unique=True),
    Column("user_name", NAME, nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("access", String(16), nullable=False),
    Column("manifest_sha256", DIGEST, nullable=False),
    Column("record", JSON, nullable=False),
    Column("authorisation", DIGEST, nullable=False),
    Column("at", UtcTime, nullable=False),
    CheckConstraint("state IN ('intent', 'draft', 'findable')", name="state"),
    CheckConstraint("access IN ('open', 'restricted')", name="access"),
)

publication_grants = Table(
    "publication_grants",
    metadata,
    Column("publication", String(32), ForeignKey("publications.id"), primary_key=True),
    Column("user_name", NAME, ForeignKey("users.name"), primary_key=True),
    Column("granted_by", NAME, nullable=False),
    Column("authorisation", DIGEST, nullable=False),
    Column("at", UtcTime, nullable=False),
)

# ---------------------------------------------------------------- sign-ins

device_logins = Table(
    "device_logins",
    metadata,
    Column("code_hash", DIGEST, primary_key=True),
    Column("user_code", String(9), nullable=False, unique=True),
    Column("public_key", JSON, nullable=False),
    Column("host", String(255), nullable=False),
    Column("address", String(64), nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("state", String(8), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("given", JSON, nullable=False),
    Column("polled_at", UtcTime),
    Column("user_name", NAME, ForeignKey("users.name")),
    Column("session", String(43), ForeignKey("sessions.id")),
    Column("approval", Text),
    Column("decided_at", UtcTime),
    CheckConstraint("state IN ('pending', 'approved', 'refused')", name="state"),
    CheckConstraint("(state = 'pending') = (approval IS NULL)", name="approval"),
    CheckConstraint("(state = 'approved') = (session IS NOT NULL)", name="session"),
)

browsers = Table(
    "browsers",
    metadata,
    Column("cookie_hash", DIGEST, primary_key=True),
    Column("user_name", NAME, ForeignKey("users.name"), nullable=False, index=True),
    Column("address", String(64), nullable=False),
    Column("agent", String(256), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("session", String(43), ForeignKey("sessions.id")),
    Column("ended_at", UtcTime),
    Column("amr", String(64), nullable=False),
    Column("proved_at", UtcTime),
)
