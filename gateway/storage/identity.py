"""Users, sessions, nonces, evidence and idempotency keys in SQL.

Invariant: all of it works on the connection it is given, so that it commits together with what it authorises; what may
happen once is decided by a unique key, never by a look before.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, RowMapping, delete, select, update

from gateway.errors import BadSignature, Conflict, NotFound, SignatureReplayed
from gateway.identity.authenticate import Once
from gateway.identity.evidence import Evidence
from gateway.identity.idempotency import Answer
from gateway.identity.scopes import read_scopes
from gateway.identity.sessions import LoginBy, Origin, Session
from gateway.identity.users import Role, User
from gateway.storage.database import insert_new
from gateway.storage.groups import of_user
from gateway.storage.tables import evidence, idempotency, sessions, used_nonces, users

_KEPT_LONGER: Final = timedelta(minutes=10)  # than any clock skew that a gateway can be set to
_IDEMPOTENT_FOR: Final = timedelta(days=1)


class SqlUsers:
    """Implements ``gateway.identity.users.UserStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, user: User, password_hash: str, now: datetime) -> None:
        """See ``UserStore.add``."""
        row = {
            "name": user.name,
            "password_hash": password_hash,
            "role": user.role.value,
            "account": user.account,
            "unix_name": user.unix_name,
            "created_at": now,
        }
        if not insert_new(self._connection, users, row):
            raise Conflict(f"There is a user {user.name} already.", hint="choose another name")

    def get(self, name: str) -> User:
        """See ``UserStore.get``."""
        row = self._connection.execute(select(users).where(users.c.name == name)).mappings().one_or_none()
        if row is None:
            raise _unknown(name)
        return self._user(row)

    def all(self) -> tuple[User, ...]:
        """See ``UserStore.all``."""
        return tuple(map(self._user, self._connection.execute(select(users).order_by(users.c.name)).mappings()))

    def pay_from(self, name: str, account: str) -> None:
        """See ``UserStore.pay_from``."""
        if self._connection.execute(update(users).where(users.c.name == name).values(account=account)).rowcount != 1:
            raise NotFound(f"There is no user {name}.")

    def visitors(self, peer: str) -> tuple[str, ...]:
        """See ``UserStore.visitors``."""
        query = select(users.c.name).where(users.c.name.endswith(f"@{peer}", autoescape=True))
        return tuple(self._connection.execute(query.order_by(users.c.name)).scalars())

    def password_hash(self, name: str) -> str | None:
        """See ``UserStore.password_hash``."""
        return self._connection.execute(select(users.c.password_hash).where(users.c.name == name)).scalar_one_or_none()

    def set_role(self, name: str, role: Role) -> None:
        """See ``UserStore.set_role``."""
        self._change(name, role=role.value)
        self._administered()

    def set_password(self, name: str, password_hash: str) -> None:
        """See ``UserStore.set_password``."""
        self._change(name, password_hash=password_hash)

    def disable(self, name: str, now: datetime) -> None:
        """See ``UserStore.disable``."""
        self._change(name, disabled_at=now)
        self._administered()

    def enable(self, name: str) -> None:
        """See ``UserStore.enable``."""
        self._change(name, disabled_at=None)

    def _change(self, name: str, **values: object) -> None:
        if self._connection.execute(update(users).where(users.c.name == name).values(**values)).rowcount != 1:
            raise _unknown(name)

    def _administered(self) -> None:
        able = (users.c.role == Role.ADMIN.value) & users.c.disabled_at.is_(None)
        if self._connection.execute(select(users.c.name).where(able).limit(1)).first() is None:
            raise Conflict("Nobody would be an administrator.", hint="make somebody else one first: burst users role")

    def _user(self, row: RowMapping) -> User:
        return User(
            row["name"],
            Role(row["role"]),
            row["account"],
            row["unix_name"],
            of_user(self._connection, row["name"]),
            disabled=row["disabled_at"] is not None,
        )


class SqlSessions:
    """Implements ``gateway.identity.sessions.SessionStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, session: Session) -> None:
        """See ``SessionStore.add``."""
        row = {
            each.name: getattr(session, each.name) for each in fields(Session) if each.name not in {"user", "origin"}
        }
        row |= {"user_name": session.user, "public_key": dict(session.public_key), "scopes": sorted(session.scopes)}
        origin = session.origin
        row |= {"how": origin.how.value, "address": origin.address, "host": origin.host, "origin_key": origin.key}
        self._connection.execute(sessions.insert().values(**row))

    def get(self, session_id: str) -> Session:
        """See ``SessionStore.get``."""
        query = select(sessions).where(sessions.c.id == session_id)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            raise BadSignature("The gateway does not know this session.", hint="burst login, then try again")
        return _session(row)

    def live(self, user: str, now: datetime) -> tuple[Session, ...]:
        """See ``SessionStore.live``."""
        good = (sessions.c.user_name == user) & sessions.c.revoked_at.is_(None) & (sessions.c.expires_at > now)
        query = select(sessions).where(good).order_by(sessions.c.created_at.desc(), sessions.c.id)
        return tuple(map(_session, self._connection.execute(query).mappings()))

    def note_use(self, session_id: str, now: datetime) -> None:
        """See ``SessionStore.note_use``."""
        self._connection.execute(update(sessions).where(sessions.c.id == session_id).values(used_at=now))

    def revoke(self, session_id: str, now: datetime) -> None:
        """See ``SessionStore.revoke``."""
        live = (sessions.c.id == session_id) & sessions.c.revoked_at.is_(None)
        self._connection.execute(update(sessions).where(live).values(revoked_at=now))

    def revoke_all(self, user: str, now: datetime, keep: str | None = None) -> int:
        """See ``SessionStore.revoke_all``."""
        live = (sessions.c.user_name == user) & sessions.c.revoked_at.is_(None) & (sessions.c.id != (keep or ""))
        return self._connection.execute(update(sessions).where(live).values(revoked_at=now)).rowcount


class SqlNonces:
    """Implements ``gateway.identity.authenticate.NonceStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def use(self, claims: Once, now: datetime) -> None:
        """See ``NonceStore.use``."""
        row = {"kid": claims.kid, "jti": claims.nonce, "used_at": now, "expires_at": claims.expires_at + _KEPT_LONGER}
        if not insert_new(self._connection, used_nonces, row):
            raise SignatureReplayed(hint="sign each try anew, with a nonce of its own")

    def forget(self, now: datetime) -> int:
        """Drop the nonces whose signatures have long expired; return how many."""
        return self._connection.execute(delete(used_nonces).where(used_nonces.c.expires_at < now)).rowcount


class SqlEvidence:
    """Implements ``gateway.identity.evidence.EvidenceStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def keep(self, kept: Evidence) -> None:
        """See ``EvidenceStore.keep``."""
        row = {field.name: getattr(kept, field.name) for field in fields(Evidence)}
        insert_new(self._connection, evidence, row | {"public_key": dict(kept.public_key)})

    def get(self, digest: str) -> Evidence:
        """See ``EvidenceStore.get``."""
        query = select(evidence).where(evidence.c.digest == digest)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound("There is no evidence of that digest.", hint="a receipt names the one of its job")
        return Evidence(**row)


class SqlIdempotency:
    """Answers by ``Idempotency-Key``, each user's apart, for a day."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def answered(self, user: str, key: str, body: bytes) -> Answer | None:
        """What the same request was answered before. Raises Conflict when the key came with another body."""
        mine = (idempotency.c.user_name == user) & (idempotency.c.key == key)
        row = self._connection.execute(select(idempotency).where(mine)).mappings().one_or_none()
        if row is None:
            return None
        if row["request_digest"] != _digest(body):
            raise Conflict("This Idempotency-Key came with another request before.", hint="use a new key for each job")
        return Answer(row["status"], row["response"])

    def keep(self, user: str, key: str, body: bytes, answer: Answer, now: datetime) -> None:
        """Keep an answer, in the transaction of what it tells. Raises Conflict when another was first."""
        row = {
            "user_name": user,
            "key": key,
            "request_digest": _digest(body),
            "status": answer.status,
            "response": dict(answer.response),
            "at": now,
        }
        if not insert_new(self._connection, idempotency, row):
            raise Conflict("The same request is being answered already.", hint="try again to get its answer")

    def forget(self, now: datetime) -> int:
        """Drop answers older than a day; return how many."""
        return self._connection.execute(delete(idempotency).where(idempotency.c.at < now - _IDEMPOTENT_FOR)).rowcount


def _session(row: RowMapping) -> Session:
    facts = dict(row)
    origin = Origin(LoginBy(facts.pop("how")), facts.pop("address"), facts.pop("host"), facts.pop("origin_key"))
    return Session(user=facts.pop("user_name"), scopes=read_scopes(facts.pop("scopes")), origin=origin, **facts)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no user {name}.", hint="an administrator can add one")
