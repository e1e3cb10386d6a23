"""Tables of passkeys and of the challenges that wait for an answer."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, LargeBinary, String, Table

from gateway.storage.columns import DIGEST, NAME, UtcTime, metadata

CREDENTIAL = String(1364)
"""At most 1023 bytes (Web Authentication §5.1), in base64url."""

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("user_name", NAME, ForeignKey("users.name"), nullable=False, index=True),
    Column("handle", String(43), nullable=False),
    Column("credential_id", CREDENTIAL, nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("name", NAME, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
)

passkey_challenges = Table(
    "passkey_challenges",
    metadata,
    Column("cookie_hash", DIGEST, primary_key=True),
    Column("purpose", String(8), primary_key=True),
    Column("challenge", LargeBinary, nullable=False),
    Column("handle", String(43)),
    Column("expires_at", UtcTime, nullable=False, index=True),
    CheckConstraint("purpose IN ('add', 'sign-in')", name="purpose"),
)
