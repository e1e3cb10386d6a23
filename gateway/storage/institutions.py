"""SqlIdentities: who people are at institutions, and their sign-ins that are under way, in SQL.

Invariant: a flow is taken by the DELETE that finds it, so two answers to it are one; (issuer, subject) is one user.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select

from gateway.errors import Conflict, NotFound
from gateway.identity.institutions import Flow, Identity
from gateway.storage.database import insert_new
from gateway.storage.institution_tables import identities, sign_in_flows


class SqlIdentities:
    """Implements ``gateway.identity.institutions.IdentityStore`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, flow: Flow) -> None:
        """See ``IdentityStore.begin``."""
        row = vars(flow) | {"public_key": dict(flow.public_key) if flow.public_key else None}
        self._connection.execute(sign_in_flows.insert().values(**row))

    def take(self, state_hash: str) -> Flow:
        """See ``IdentityStore.take``."""
        mine = sign_in_flows.c.state_hash == state_hash
        query = delete(sign_in_flows).where(mine).returning(sign_in_flows)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound("There is no such sign-in.", hint="begin it again")
        return Flow(**row)

    def find(self, issuer: str, subject: str) -> Identity | None:
        """See ``IdentityStore.find``."""
        person = (identities.c.issuer == issuer) & (identities.c.subject == subject)
        row = self._connection.execute(select(identities).where(person)).mappings().one_or_none()
        return _identity(row) if row else None

    def link(self, identity: Identity) -> None:
        """See ``IdentityStore.link``."""
        row = {field.name: getattr(identity, field.name) for field in fields(Identity) if field.name != "user"}
        if not insert_new(self._connection, identities, row | {"user_name": identity.user}):
            raise Conflict("This account is linked already.", hint="unlink it where it is linked, then try again")

    def of_user(self, user: str) -> tuple[Identity, ...]:
        """See ``IdentityStore.of_user``."""
        mine = identities.c.user_name == user
        query = select(identities).where(mine).order_by(identities.c.linked_at, identities.c.id)
        return tuple(map(_identity, self._connection.execute(query).mappings()))

    def unlink(self, user: str, identity_id: str) -> None:
        """See ``IdentityStore.unlink``."""
        mine = (identities.c.user_name == user) & (identities.c.id == identity_id)
        if self._connection.execute(delete(identities).where(mine)).rowcount != 1:
            raise NotFound("You have no such account linked.", hint="open your account's page again")

    def forget(self, now: datetime) -> int:
        """Drop sign-ins that nobody ended in time; return how many."""
        return self._connection.execute(delete(sign_in_flows).where(sign_in_flows.c.expires_at < now)).rowcount


def _identity(row: RowMapping) -> Identity:
    facts: dict[str, Any] = dict(row)
    return Identity(user=facts.pop("user_name"), **facts)
